// The home of some locks, and its children: their connections, their deaths, the repair of what they leave behind.
//
// Threads:   confined to the scheduler's.
// Ownership: owns all that it makes. At its end all children have ended.

#ifndef ACRE_LOCK_KILL_HOME_H_
#define ACRE_LOCK_KILL_HOME_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lock/kill/board.h"
#include "lock/kill/child.h"
#include "lock/kill/child_process.h"
#include "lock/kill/messages.h"
#include "lock/local_arena.h"
#include "lock/local_repair.h"
#include "lock/lock_keeper.h"
#include "lock/lock_repair.h"
#include "lock/remote_repair.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::lock_kill {

struct HomeOptions {
  // Remote children's, for the locks. Local children, and the board, have shm. On tcp there are no local ones:
  // a lock's atomics all come through the fabric that made it.
  std::string fabric = "shm";
  // Whether a fence kills. If not it only closes queue pairs: enough where the home's side executes what the other
  // side posts (tcp), not where the other side does that itself (shm).
  bool fence_kills = true;
  bool repairs_data = true;  // A mistake that must be found if not.
  std::string program;       // Of children.
  uint64_t seed = 1;
};

// When the first of each happened since they were 0, on the clock of the board.
struct Stamps {
  uint64_t ended_ns = 0;     // The kernel told the home of a death.
  uint64_t fenced_ns = 0;    // The process was fenced.
  uint64_t repaired_ns = 0;  // Data that it guarded were, and the grant to the next one follows.
};

// Of one process.
struct Member {
  Member(Scheduler* scheduler, const std::string& program) : process(program), ended(scheduler) {}

  uint32_t id = 0;
  uint32_t place = 0;
  bool is_local = false;
  ChildProcess process;
  Event ended;
  std::string endpoint;  // Where a remote one listens. "": it has not said.
  std::unique_ptr<transport::MemoryRegion> intents;
  // What it has of us: by shm, and by the fabric of the locks if that is another.
  std::vector<std::pair<Link*, std::unique_ptr<transport::QueuePair>>> queue_pairs;
  bool is_fenced = false;
  bool is_told_to_stop = false;
  bool has_noticed = false;  // That it is given up.
};

class Home final : private LockSurvivors, private GuardedData, private LockKeeper::Fence {
 public:
  explicit Home(const HomeOptions& options);
  ~Home() override;

  Scheduler& scheduler() { return scheduler_; }
  Board* board() { return BoardIn(board_->words()); }
  BoardPlace& place(uint32_t place) { return board()->places[place]; }
  const LockWords& lock(uint32_t number) const;
  const SharedWord* guarded(uint32_t number) const;
  LocalArena* arena() const { return arena_.get(); }
  // By process id: those who live, and the dead that cannot be forgotten yet.
  const std::map<uint32_t, std::unique_ptr<Member>>& members() const { return members_; }
  // In that place. Null: nobody who lives.
  Member* At(uint32_t place);

  // A new process takes the place; done when it has joined, or is dead.
  Task<void> Start(uint32_t place, bool is_local);
  // It stands still, and counts as dead.
  void GiveUp(Member* member);
  // Tells everybody to end.
  void StopAll();
  // All who are known to be dead are fenced, and the remote queues repaired.
  bool has_buried() const { return keeper_->idle(); }
  // All repair that is known to be needed is done.
  bool is_quiet() const { return keeper_->idle() && local_repair_->idle(); }
  // What is under way, and the remote queues as intents tell them, for people.
  std::string RepairText() const;
  // Lets go of what was kept for the dead, as far as no queue leads to it.
  void ForgetDead();

  // The first thing that went wrong. "": nothing.
  const std::string& finding() const { return finding_; }
  void Find(absl::string_view what);
  Stamps& stamps() { return stamps_; }
  // Also those that did not answer.
  uint64_t fenced_count() const { return fenced_count_; }
  uint64_t unanswered_count() const { return unanswered_count_; }
  uint64_t repaired_count() const;

 private:
  struct Question {
    bool is_answered = false;
    uint64_t answer = 0;
  };

  std::unique_ptr<transport::MemoryRegion> MakeRegion(transport::Fabric* fabric, uint32_t id,
                                                      size_t bytes, uint32_t rights,
                                                      absl::string_view name);
  void Listen(Link* link, std::unique_ptr<transport::Listener>* listener);
  // A queue pair of the home to itself.
  void ConnectToItself();
  void MakeRepair();

  void OnConnect(Link* link, transport::Listener* listener);
  void OnJoined(Link* link, Member* member, transport::QueuePair* queue_pair);
  void OnControl(Member* member);
  void OnReady(Member* member);
  void OnEnd(Member* member);
  void Tell(Member* member, const Message& message);
  void TellOthers(const Message& message, uint32_t but);
  // Null: none.
  Member* FindMember(uint32_t id);

  // LockKeeper::Fence.
  Task<void> Close(uint32_t process_id) override;
  // GuardedData.
  void RepairLocal(GlobalAddress lock, LocalWord dead) override;
  void RepairRemote(GlobalAddress lock, absl::Span<const RemoteWord> dead) override;
  void Apply(GlobalAddress lock, const Redo& redo);
  void LeaveFor(GlobalAddress lock, uint32_t process_id);
  // LockSurvivors.
  Task<absl::StatusOr<bool>> StandBy(RemoteWord word, absl::Span<const uint32_t> dead) override;
  Task<absl::Status> SetSuccessor(RemoteWord word, RemoteWord successor) override;
  Task<absl::StatusOr<bool>> HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) override;
  Task<absl::Status> GrantLeadership(RemoteWord word) override;
  Task<absl::StatusOr<bool>> Ask(Message question);

  const HomeOptions options_;
  RealClock clock_;
  Scheduler scheduler_;
  Link shm_;
  Link other_;  // Of the locks, where that is not shm.
  Link* const locks_link_;
  std::unique_ptr<transport::Listener> shm_listener_;
  std::unique_ptr<transport::Listener> other_listener_;
  std::unique_ptr<transport::MemoryRegion> board_;
  std::unique_ptr<transport::MemoryRegion> locks_;
  std::unique_ptr<transport::MemoryRegion> arena_region_;
  std::unique_ptr<transport::MemoryRegion> landing_;
  std::unique_ptr<transport::QueuePair> accepted_;  // From ourselves.
  std::unique_ptr<LocalArena> arena_;
  std::unique_ptr<LocalRepair> local_repair_;
  std::unique_ptr<RemoteRepair> remote_repair_;
  std::unique_ptr<LockKeeper> keeper_;
  std::map<uint32_t, std::unique_ptr<Member>> members_;
  std::map<uint64_t, Question> questions_;  // By sequence.
  uint64_t last_sequence_ = 0;
  uint32_t last_id_ = 1;  // The home's own.
  std::string finding_;
  void Stamp(uint64_t* at_ns);
  Stamps stamps_;
  uint64_t fenced_count_ = 0;
  uint64_t unanswered_count_ = 0;
};

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_HOME_H_
