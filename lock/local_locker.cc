#include "lock/local_locker.h"

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre {
namespace {

// A place in a queue, for a task that may be destroyed while it waits.
class Queued {
 public:
  Queued(LockThread* thread, LockThread::Place* place) : thread_(thread), place_(place) {}
  ~Queued() {
    if (place_ != nullptr) thread_->Abandon(place_);
  }
  Queued(const Queued&) = delete;
  Queued& operator=(const Queued&) = delete;

  LockThread::Place* place() const { return place_; }
  LockThread::Place* Release() { return std::exchange(place_, nullptr); }

 private:
  LockThread* const thread_;
  LockThread::Place* place_;
};

}  // namespace

absl::StatusOr<MappedLock> LocalLocker::Find(GlobalAddress lock) const {
  LockWords* const words = FindLock(regions_, lock);
  if (words != nullptr) return MappedLock{words, lock};
  return absl::UnavailableError(absl::StrCat("region ", lock.region_id(),
                                             " is not mapped here, or has no lock at byte ",
                                             lock.offset_bytes()));
}

Task<absl::StatusOr<HeldLock>> LocalLocker::AcquireUntil(GlobalAddress lock, uint64_t deadline_ns) {
  const absl::StatusOr<MappedLock> mapped = Find(lock);
  if (!mapped.ok()) co_return mapped.status();
  LockThread::Place* const place = thread_->Start(*mapped);
  if (place == nullptr) {
    co_return absl::ResourceExhaustedError("as many local locks are held or awaited as may be");
  }
  if (place->held()) co_return HeldLock(this, place);
  Queued queued(thread_, place);
  const bool held = co_await thread_->AwaitUntil(queued.place(), deadline_ns);
  if (!held) co_return absl::DeadlineExceededError("others held the lock until the deadline");
  co_return HeldLock(this, queued.Release());
}

Task<absl::StatusOr<HeldLock>> LocalLocker::TryAcquire(GlobalAddress lock) {
  const absl::StatusOr<MappedLock> mapped = Find(lock);
  if (!mapped.ok()) co_return mapped.status();
  LockThread::Place* const place = thread_->TryStart(*mapped);
  if (place == nullptr) co_return HeldLock();
  co_return HeldLock(this, place);
}

Task<absl::Status> LocalLocker::Release(HeldLock lock,
                                        absl::Span<const transport::WorkRequest> data) {
  CHECK(data.empty()) << "local threads store";
  thread_->Release(static_cast<LockThread::Place*>(Unwrap(&lock)));
  co_return absl::OkStatus();
}

LocalWord LocalLocker::WordOf(const HeldLock& lock) const {
  return static_cast<const LockThread::Place*>(PlaceOf(lock))->word;
}

void LocalLocker::Drop(void* place) { thread_->Release(static_cast<LockThread::Place*>(place)); }

}  // namespace acre
