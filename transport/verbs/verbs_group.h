// VerbsGroup: what threads share that share queue pairs: the card's completion queues, rdma_cm's events, a slow
// timer, and the card's queue pairs themselves. Their completion queues are its members, VerbsFabric's
// threads_per_qp at most; with 1, nothing is shared.
//
// The card puts completions into queues of a fixed size; there is one for as many queue pairs as fit in it, all
// with one completion channel. That channel, rdma_cm's events (connecting, disconnecting) and the timer are
// descriptors that every member watches beside its own. Whichever member polls takes what the card has for all
// of them: each completion is put into its own member's queue, which is woken if it is armed. So a thread that
// never polls holds up nobody else.
//
// The timer ticks every kTickNs while there are queue pairs, so that a peer which vanished without a word is
// missed and a connection that is never answered ends (card_queue_pair.h).
//
// Ownership:  members own it together. It owns the card's queue pairs; requests for lanes that nobody has
//             accepted yet keep it, too.
// Threads:    any that holds mutex(). Nothing waits under it, and it calls nobody above the fabric.
// Invariants: the card's queues have room for all that the queue pairs on them may leave there.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_GROUP_H_
#define ACRE_TRANSPORT_VERBS_VERBS_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/mutex.h"
#include "runtime/scoped_fd.h"
#include "transport/verbs/verbs_context.h"

namespace acre::transport {

class CardQueuePair;
class VerbsCompletionQueue;

// How often queue pairs look whether their peers are still there.
constexpr uint64_t kTickNs = 2'000'000'000;

class VerbsGroup : public std::enable_shared_from_this<VerbsGroup> {
 public:
  // The first group of the context that has a place left; if there is none, a new one.
  static absl::StatusOr<std::shared_ptr<VerbsGroup>> Join(VerbsContext* context);
  void Leave();
  ~VerbsGroup();

  VerbsContext* context() const { return context_; }
  Mutex* mutex() { return &mutex_; }

  // Readable: Service() them. Constant.
  int channel_fd() const { return channel_->fd; }
  int cm_fd() const { return cm_channel_->fd; }
  int timer_fd() const { return timer_fd_.get(); }

  // --- All of the rest: under the mutex.

  void AddMember(VerbsCompletionQueue* member) { joined_.push_back(member); }
  void RemoveMember(VerbsCompletionQueue* member) { std::erase(joined_, member); }
  // The member with the fewest queue pairs. Null: none is left.
  VerbsCompletionQueue* QuietestMember() const;

  // What a member found readable, or thinks so.
  void TakeChannelEvents();
  void TakeCmEvents();
  void TakeTicks();

  // A member sleeps, or may: each event is followed by asking for the next.
  void AddArmed() { ++armed_count_; }
  void RemoveArmed() { --armed_count_; }
  // Has the card make channel_fd() readable at the next completion.
  void AskForEvents();

  // Hands on all that the card has, till *pending_count is at least `enough`. Whether there may be more.
  bool TakeFromCards(const size_t* pending_count, size_t enough);

  // The number that WorkIds of `card` carry, and a queue of the card with room for what it may leave there.
  struct Place {
    ibv_cq* cq;
    uint32_t connection;
  };
  absl::StatusOr<Place> Attach(CardQueuePair* card, uint32_t completions_max);
  // Requires: the card has destroyed the queue pair, so it reports nothing more.
  void Detach(CardQueuePair* card, const Place& place, uint32_t completions_max);
  rdma_event_channel* cm_channel() const { return cm_channel_.get(); }
  // Takes all that the card has in one of its queues.
  void Drain(ibv_cq* cq);

  // Keeps it till Destroy(). One that nothing keeps any more goes with the next call of a member, never inside of
  // one of its own; unless somebody has found a use for it meanwhile.
  CardQueuePair* Own(std::unique_ptr<CardQueuePair> card);
  void Destroy(CardQueuePair* card);
  void DestroyLater(CardQueuePair* card) { ended_.push_back(card); }
  void DestroyEnded();
  // One that this side connected to `endpoint` and that has a lane left, or null.
  CardQueuePair* FindWithRoom(absl::string_view endpoint) const;
  // Null: it has gone.
  CardQueuePair* Find(uint32_t connection) const;

  // A queue pair broke, and what the card gives back makes channel_fd() readable, armed or not, till it has all.
  void AddDraining();
  void RemoveDraining() { --draining_count_; }

  // Requests under construction, of the lane that is posting. Room for its full send queue.
  struct Scratch {
    std::vector<ibv_send_wr> requests;
    std::vector<ibv_sge> buffers;
    std::vector<ibv_recv_wr> receives;
  };
  Scratch* scratch() { return &scratch_; }

 private:
  struct CardQueue {
    Cq cq;
    uint32_t room;
  };

  static absl::StatusOr<std::shared_ptr<VerbsGroup>> Create(VerbsContext* context);
  VerbsGroup(VerbsContext* context, CompletionChannel channel, CmChannel cm_channel,
             ScopedFd timer_fd);

  absl::Status AddCardQueue(uint32_t completions_max);
  // At most one batch. False: the card's queue is empty.
  bool TakeFromCard(ibv_cq* cq);
  void SetTimer(bool on);

  VerbsContext* const context_;
  CompletionChannel channel_;
  CmChannel cm_channel_;
  ScopedFd timer_fd_;
  size_t members_ = 0;  // Under the context's groups_mutex.

  Mutex mutex_;  // Of all that follows.
  std::vector<VerbsCompletionQueue*> joined_;
  std::vector<CardQueue> card_queues_;
  absl::flat_hash_map<uint32_t, CardQueuePair*> attached_;
  uint32_t connections_count_ = 0;  // Ever made: a number is never reused.
  std::vector<std::unique_ptr<CardQueuePair>> owned_;
  std::vector<CardQueuePair*> ended_;
  size_t armed_count_ = 0;
  size_t draining_count_ = 0;
  Scratch scratch_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_GROUP_H_
