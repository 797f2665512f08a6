// A child that takes locks through a fabric. Its app thread works; its service thread listens for other children, and
// answers the home whatever the app thread does.
//
// Threads:   two, as said at each part.
// Ownership: as Child.

#ifndef ACRE_LOCK_KILL_REMOTE_CHILD_H_
#define ACRE_LOCK_KILL_REMOTE_CHILD_H_

#include <pthread.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "lock/kill/child.h"
#include "lock/remote_cohort.h"
#include "lock/remote_descriptors.h"
#include "lock/remote_locker.h"

namespace acre::lock_kill {

// Connections of others to our descriptors, and answers to the home.
//
// Threads: confined to its own, but for Start() and Join().
class ChildService {
 public:
  ChildService(uint32_t process_id, transport::Fabric* fabric, RemoteDescriptors* descriptors,
               Control* control, Clock* clock);
  ~ChildService();
  // What comes from the home and is none of a repair's questions goes to `to_app`, on this thread.
  void Start(std::function<void(const Message&)> to_app);
  // Ends the thread.
  void Join();

 private:
  void OnControl();
  void OnConnect();
  // False: it is none.
  bool Answer(const Message& question);
  void CloseTo(absl::Span<const uint32_t> dead);

  RemoteDescriptors* const descriptors_;
  Control* const control_;
  std::function<void(const Message&)> to_app_;
  Scheduler scheduler_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  std::unique_ptr<transport::Listener> listener_;
  std::vector<std::pair<uint32_t, std::unique_ptr<transport::QueuePair>>> accepted_;
  std::vector<uint32_t> dead_;
  absl::optional<pthread_t> thread_;
};

class RemoteChild final : public Child, private LockPeers {
 public:
  RemoteChild(const Message& setup, Control* control, Clock* clock);
  ~RemoteChild() override;
  void Run() override;

 private:
  // Another child, as we reach it.
  struct Other {
    std::unique_ptr<transport::QueuePair> queue_pair;
    absl::optional<uint64_t> key;
  };
  // What requests of a task read and write.
  struct Buffer {
    std::unique_ptr<transport::MemoryRegion> region;
    SharedWord* words = nullptr;
    SharedWord* guarded() const { return words; }
    SharedWord* redo() const { return words + kGuardedWords; }
    SharedWord* inside() const { return redo() + kRedoWords; }
  };
  static constexpr uint32_t kBufferWords = kGuardedWords + kRedoWords + 1;

  // Of the locks: that of the board, if both are one.
  Link& locks() { return lock_link_.fabric != nullptr ? lock_link_ : link_; }
  void OnMessage(const Message& message);
  Task<void> Join();
  void MakeLocker();
  Task<void> WorkAndDrain();
  Task<absl::StatusOr<Peer>> Find(uint32_t process_id) override;
  // The home watches all processes, and on one machine nothing breaks between two that live.
  void OnUnreachable(uint32_t /*process_id*/) override {}

  Task<absl::Status> Update(uint32_t lock, uint32_t task, HeldLock held) override;
  // The end of a turn in which it dies.
  Task<void> DieWhileReleasing(absl::Span<const transport::WorkRequest> batch);
  transport::WorkRequest Write(const Buffer& buffer, SharedWord* from, uint32_t words,
                               uint64_t offset_bytes) const;
  Task<absl::Status> Execute(transport::WorkRequest request);

  Link lock_link_;
  std::unique_ptr<RemoteDescriptors> descriptors_;
  std::unique_ptr<ChildService> service_;
  absl::optional<Message> lock_keys_;
  std::map<uint32_t, Other> others_;
  RemoteHome home_;
  std::unique_ptr<RemoteLocker> locker_;
  std::array<Buffer, kTasks> buffers_;
};

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_REMOTE_CHILD_H_
