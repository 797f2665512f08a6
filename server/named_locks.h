// NamedLocks: locks that clients take by name (docs/locks.md). Each is an ALock, as the buckets' are, which threads of
// the server hold for clients, in the local cohort. It exists while somebody holds or awaits it. Clients wait in a
// list of their own, in the order in which they came, and only the first of them tries the ALock, when it was given
// back: so one that gives up leaves nothing behind, and those who wait cost no CPU.
//
// Every acquisition has a token above all earlier ones, of any lock: whoever guards something with a lock passes
// it along, and what is guarded refuses a token below the highest that it has seen. It comes from the wall clock, so
// that it rises across restarts of the server, too, as long as that clock is not set back.
//
// Threads:   NamedLocks is shared by the workers. A LockSession is confined to its worker's; another worker may force
//            one of its locks open.
// Ownership: sessions go before the thread's LockThread, that before NamedLocks.
// Limits:    kLocksPerClientMax for each connection, kNameBytesMax for all of them.

#ifndef ACRE_SERVER_NAMED_LOCKS_H_
#define ACRE_SERVER_NAMED_LOCKS_H_

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lock/local_arena.h"
#include "lock/local_lock.h"
#include "lock/lock_words.h"
#include "runtime/clock.h"
#include "runtime/mutex.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::server {

// That one connection may hold and await at a time.
constexpr size_t kLocksPerClientMax = 10'000;
// Names of all locks that there are, in bytes.
constexpr size_t kNameBytesMax = size_t{256} << 20;

class LockSession;

class NamedLocks {
 public:
  // `wall_ns`: the wall clock, for tokens.
  NamedLocks(Clock* clock, std::function<uint64_t()> wall_ns)
      : clock_(clock), wall_ns_(std::move(wall_ns)), arena_(LocalArena::Create()) {}
  ~NamedLocks();
  NamedLocks(const NamedLocks&) = delete;
  NamedLocks& operator=(const NamedLocks&) = delete;

  LocalArena* arena() const { return arena_.get(); }

  // A line for each lock, with those who wait for it behind it: docs/locks.md. About `bytes_max` at most; the last line
  // says so if there are more.
  std::string List(size_t bytes_max);
  // Opens a lock whose holder has this token. Its worker does it a moment later.
  // NotFound: nobody holds it. FailedPrecondition: somebody else does by now, the message has his token.
  absl::Status Force(absl::string_view name, uint64_t token);

  struct Counts {
    uint64_t held = 0;
    uint64_t waiting = 0;
    uint64_t acquired = 0;  // Since the server started; forced likewise.
    uint64_t forced = 0;
  };
  Counts counts();

 private:
  friend class LockSession;

  // One that awaits a lock. Its session's; shared with what was posted to its worker.
  struct Waiter {
    explicit Waiter(Scheduler* of) : scheduler(of), turn(of) {}
    Scheduler* const scheduler;
    Event turn;  // It is the first, and the lock is free; or it was called off. Worker's thread.
    std::string client;
    uint64_t since_ns = 0;
  };
  struct Entry {
    LockWords words{};
    GlobalAddress address;
    std::string name;
    // Of the holder; token 0: nobody. `session` may be forced.
    uint64_t token = 0;
    uint64_t since_ns = 0;
    std::string client;
    std::weak_ptr<LockSession*> session;
    Scheduler* scheduler = nullptr;
    uint64_t ticket = 0;
    std::list<std::shared_ptr<Waiter>> waiters;  // In their order in the queue.
  };

  // The entry of that name, made if need be. It stays while somebody is in it. Null: kNameBytesMax.
  Entry* Find(absl::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets go of it, if nobody is in it.
  void Forget(Entry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // If the lock is free, and somebody waits for it.
  void WakeFirst(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t NextToken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock* const clock_;
  const std::function<uint64_t()> wall_ns_;
  const std::unique_ptr<LocalArena> arena_;
  Mutex mutex_;
  // By their own names.
  absl::flat_hash_map<absl::string_view, std::unique_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
  size_t name_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t last_token_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t entries_made_ ABSL_GUARDED_BY(mutex_) = 0;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
};

// The locks of one connection. Its destructor gives all of them back: a client that is gone holds nothing.
class LockSession {
 public:
  // `client`: who it is, for people.
  LockSession(NamedLocks* locks, LockThread* thread, std::string client);
  ~LockSession();
  LockSession(const LockSession&) = delete;
  LockSession& operator=(const LockSession&) = delete;

  // Waits for the lock, at most `wait_ns`; 0: takes it if it is free. Gives its token; 0: others had it all the time,
  // or Unlock() came. `name` is copied.
  // Errors: InvalidArgument - the ticket is in use. ResourceExhausted - the limits above.
  Task<absl::StatusOr<uint64_t>> Lock(absl::string_view name, uint64_t ticket, uint64_t wait_ns);
  // NotFound: there is no such ticket (any more).
  absl::Status Unlock(uint64_t ticket);

 private:
  friend class NamedLocks;
  class Waiting;
  struct Hold {
    NamedLocks::Entry* entry = nullptr;
    LockThread::Place* place = nullptr;  // Held.
    // Awaited: its place among the entry's waiters.
    std::list<std::shared_ptr<NamedLocks::Waiter>>::iterator waiter;
    bool is_called_off = false;

    bool is_held() const { return place != nullptr; }
  };

  // Takes the lock, if it is free. A token, or 0.
  uint64_t TryEnter(uint64_t ticket, Hold* hold) ABSL_EXCLUSIVE_LOCKS_REQUIRED(locks_->mutex_);
  void StopWaiting(Hold* hold) ABSL_EXCLUSIVE_LOCKS_REQUIRED(locks_->mutex_);
  void GiveBack(uint64_t ticket);
  // Of NamedLocks::Force, on the worker's thread.
  void OnForced(uint64_t ticket, uint64_t token);
  Scheduler* scheduler() const { return thread_->scheduler(); }

  NamedLocks* const locks_;
  LockThread* const thread_;
  const std::string client_;
  const std::shared_ptr<LockSession*> self_;                    // For who may outlive us.
  absl::flat_hash_map<uint64_t, std::unique_ptr<Hold>> holds_;  // By ticket.
};

}  // namespace acre::server

#endif  // ACRE_SERVER_NAMED_LOCKS_H_
