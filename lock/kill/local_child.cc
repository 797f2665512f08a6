#include "lock/kill/local_child.h"

#include <sys/epoll.h>

#include <utility>

#include "absl/types/span.h"
#include "glog/logging.h"
#include "transport/region_header.h"

namespace acre::lock_kill {
namespace {

constexpr uint64_t kLookNs = 50'000;
constexpr uint32_t kBudget = 3;
constexpr uint64_t kHeaderWords = transport::kRegionHeaderBytes / kWordBytes;

}  // namespace

LocalChild::LocalChild(const Message& setup, Control* control, Clock* clock)
    : Child(setup, control, clock) {
  link_.Open(clock, &scheduler_, setup.text());
  link_.Connect(setup.text(), setup.process_id);
  const absl::Status watched =
      scheduler_.WatchFd(control->fd(), EPOLLIN, [this](uint32_t) { OnControl(); });
  CHECK(watched.ok()) << watched;
}

LocalChild::~LocalChild() { link_.Close(); }

void LocalChild::OnControl() {
  Message message;
  while (control_->Receive(&message)) {
    if (message.kind == MessageKind::kBoardKey) board_key_ = message.word;
    if (message.kind == MessageKind::kLockKeys) lock_keys_ = message;
    if (message.kind == MessageKind::kStop) stops_ = true;
  }
}

Task<void> LocalChild::Map() {
  co_await MapBoard();
  while (!lock_keys_.has_value()) co_await scheduler_.SleepFor(kLookNs);
  const auto locks = link_.home->Map({lock_keys_->word});
  CHECK(locks.ok()) << locks.status();
  locks_ = locks->writable_words;
  const auto arena = link_.home->Map({lock_keys_->other});
  CHECK(arena.ok()) << arena.status();
  arena_ = std::make_unique<LocalArena>(absl::MakeSpan(
      arena->writable_words + kHeaderWords, kArenaDescriptors * kLineBytes / kWordBytes));
}

Task<void> LocalChild::WorkAndDrain() {
  co_await WorkAll(locker_.get());
  while (!thread_->idle()) co_await scheduler_.Yield();
}

void LocalChild::Run() {
  scheduler_.RunUntilDone(Map());
  thread_ = std::make_unique<LockThread>(
      &scheduler_, arena_.get(),
      LockThread::Options{.process_id = setup_.process_id, .budget = kBudget});
  locker_ = std::make_unique<LocalLocker>(thread_.get(), LockRegions{{kLockRegion, locks_}});
  scheduler_.RunUntilDone(WorkAndDrain());
  locker_.reset();
  thread_.reset();
}

// Release: the home, and who comes next, see the words in this order.
void LocalChild::WriteRecord(SharedWord* record, uint64_t value) const {
  for (uint32_t i = 0; i < kRecordWords; ++i) {
    if (i == kRecordWords / 2) DieIf(Order::kDieMidRecord);
    record[i].Store(value, std::memory_order_release);
  }
}

Task<absl::Status> LocalChild::Update(uint32_t lock, uint32_t /*task*/, HeldLock held) {
  LookAtConfirmed(lock);
  SharedWord* const guarded = locks_ + GuardedOffset(lock) / kWordBytes;
  uint64_t found[kGuardedWords];
  CopyFromShared(found, guarded, kGuardedWords, CopyOrder::kAscending);
  if (absl::Status status = JudgeFound(lock, found); !status.ok()) co_return status;
  guarded[kInsideWord].Store(setup_.process_id, std::memory_order_release);
  const LocalWord word = locker_->WordOf(held);
  co_await OnInside(lock, word.bits());
  const uint64_t inside = guarded[kInsideWord].Load(std::memory_order_acquire);
  if (absl::Status status = JudgeStillInside(lock, inside); !status.ok()) co_return status;

  OnAnnounce(lock);
  const Redo redo = Redo::Of(word.bits(), found[0] + 1);
  CopyToShared(board_->local_redo + size_t{word.index()} * kRedoWords, &redo.word, kRedoWords,
               CopyOrder::kAscending);
  DieIf(Order::kDieAnnounced);
  WriteRecord(guarded, redo.value);
  guarded[kInsideWord].Store(0, std::memory_order_release);
  DieIf(Order::kDieUnreleased);
  const absl::Status released = co_await locker_->Release(std::move(held));
  if (released.ok()) OnConfirmed(lock);
  co_return released;
}

}  // namespace acre::lock_kill
