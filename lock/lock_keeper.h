// LockKeeper: what a home does when a process that holds or awaits its locks dies, or does not answer: fence it,
// repair the data, repair the queues, in this order (docs/alock.md, "Repair").
//
// Threads:   confined to the scheduler's.
// Ownership: borrows all that it is given. Whoever made a process known to RemoteRepair removes it there when it is
//            forgettable; till then each later repair looks at it again. Destroyed with no repair under way (idle()), or with the scheduler's
//            tasks.

#ifndef ACRE_LOCK_LOCK_KEEPER_H_
#define ACRE_LOCK_LOCK_KEEPER_H_

#include <cstdint>
#include <deque>
#include <set>

#include "lock/local_repair.h"
#include "lock/remote_repair.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre {

class LockKeeper {
 public:
  // The home's hold on other processes.
  class Fence {
   public:
    virtual ~Fence() = default;
    // When it is done nothing that the process does, or has posted, takes effect in the home's memory any more. Over
    // a network: its queue pairs are closed. On shm that is not enough: there the initiator's own CPU executes
    // requests, and a thread that was stopped between its last look and its store goes on one day. Such a process
    // (QueuePair::peer_pid() tells) is killed, and seen to exit. Its process id never comes back. May be called
    // again for the same one.
    virtual Task<void> Close(uint32_t process_id) = 0;
    // RemoteRepair's queue pair to the home itself has broken: gives it another one (RemoteRepair::SetLoopback). An
    // error: there is none; called again some time later.
    virtual Task<absl::Status> MendHome() {
      co_return absl::UnimplementedError("this home has one queue pair to itself for good");
    }
  };
  struct Options {
    Scheduler* scheduler = nullptr;
    Fence* fence = nullptr;
    LocalRepair* local = nullptr;    // Null: no other process has the locks mapped.
    RemoteRepair* remote = nullptr;  // Null: nobody takes them remotely.
  };
  explicit LockKeeper(const Options& options) : options_(options) {}
  ~LockKeeper();

  // The process is dead, or must count as dead. Again does nothing.
  void OnDeath(uint32_t process_id);
  // Nothing of it is left anywhere, and RemoteRepair has forgotten it, too.
  void Forget(uint32_t process_id) { known_.erase(process_id); }
  // All that died so far is repaired, but for local places whose turn has not come (LocalRepair::idle).
  bool idle() const { return !runs_; }

 private:
  Task<void> Run();
  Task<void> MendHome(absl::Status why);
  Task<void> Bury(uint32_t process_id);

  const Options options_;
  std::deque<uint32_t> dying_;
  std::set<uint32_t> known_;
  bool runs_ = false;
  bool needs_repair_ = false;  // Though nobody has died since.
  SpawnHandle task_;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_KEEPER_H_
