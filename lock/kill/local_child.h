// A child that has the locks, the arena and the board mapped, and takes locks as a local thread.
//
// Threads: one.

#ifndef ACRE_LOCK_KILL_LOCAL_CHILD_H_
#define ACRE_LOCK_KILL_LOCAL_CHILD_H_

#include <memory>

#include "absl/types/optional.h"
#include "lock/kill/child.h"
#include "lock/local_arena.h"
#include "lock/local_lock.h"
#include "lock/local_locker.h"

namespace acre::lock_kill {

class LocalChild final : public Child {
 public:
  LocalChild(const Message& setup, Control* control, Clock* clock);
  ~LocalChild() override;
  void Run() override;

 private:
  void OnControl();
  Task<void> Map();
  // Until nothing of ours is in a queue.
  Task<void> WorkAndDrain();
  Task<absl::Status> Update(uint32_t lock, uint32_t task, HeldLock held) override;
  void WriteRecord(SharedWord* record, uint64_t value) const;

  absl::optional<Message> lock_keys_;
  SharedWord* locks_ = nullptr;
  std::unique_ptr<LocalArena> arena_;
  std::unique_ptr<LockThread> thread_;
  std::unique_ptr<LocalLocker> locker_;
};

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_LOCAL_CHILD_H_
