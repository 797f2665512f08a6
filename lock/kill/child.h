// What local and remote children have in common: their thread with a scheduler, the connection to the home's board,
// and the judgement of what a holder finds.
//
// Threads:   confined to one.
// Ownership: borrows the control socket.

#ifndef ACRE_LOCK_KILL_CHILD_H_
#define ACRE_LOCK_KILL_CHILD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "lock/kill/board.h"
#include "lock/kill/messages.h"
#include "lock/locker.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::lock_kill {

// A fabric, and what one thread needs to use it.
struct Link {
  std::unique_ptr<transport::Fabric> fabric;
  std::unique_ptr<transport::CompletionQueue> queue;
  std::unique_ptr<transport::Port> port;
  std::unique_ptr<transport::QueuePair> home;

  // By the prefix of the home's endpoint, "shm:" or "tcp:".
  static std::unique_ptr<transport::Fabric> MakeFabric(Clock* clock, absl::string_view endpoint);
  void Open(Clock* clock, Scheduler* scheduler, absl::string_view endpoint);
  // Starts to connect to the home, as `process_id`.
  void Connect(absl::string_view endpoint, uint32_t process_id);
  void Close();
};

class Child {
 public:
  Child(const Message& setup, Control* control, Clock* clock);
  virtual ~Child() = default;
  // Works until it is told to stop.
  virtual void Run() = 0;

 protected:
  // A turn: gets the lock, changes the record, gives it back.
  virtual Task<absl::Status> Update(uint32_t lock, uint32_t task, HeldLock held) = 0;
  // Takes locks, and calls Update().
  Task<void> Work(Locker* locker, uint32_t task);
  // Two tasks of that, until they have ended.
  Task<void> WorkAll(Locker* locker);
  // Takes part in the board.
  Task<void> MapBoard();

  // ---- For Update(), in this order.

  // Before the record is read: what it holds at least.
  void LookAtConfirmed(uint32_t lock);
  // What was found there. An error: somebody else is inside, it is torn, or a number is lost.
  absl::Status JudgeFound(uint32_t lock, const uint64_t* guarded) const;
  // `inside` says that it is us: tells it to the board; stays, or dies, if it is told to.
  Task<void> OnInside(uint32_t lock, uint64_t word);
  // `inside` at the end of its turn.
  absl::Status JudgeStillInside(uint32_t lock, uint64_t inside) const;
  void OnAnnounce(uint32_t lock);
  void DieIf(Order order) const;
  void StopIfTold() const;
  void OnConfirmed(uint32_t lock);

  BoardPlace& place() const { return board_->places[setup_.place]; }
  void Tell(MessageKind kind, absl::string_view text) const;

  const Message setup_;
  Control* const control_;
  Clock* const clock_;
  Scheduler scheduler_;
  Random random_;
  Link link_;  // Shm: to the board.
  Board* board_ = nullptr;
  absl::optional<uint64_t> board_key_;
  uint64_t confirmed_[kLocks] = {};
  bool stops_ = false;
};

// Runs the child that the home says this process is.
void RunChild();

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_CHILD_H_
