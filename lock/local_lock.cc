#include "lock/local_lock.h"

#include <utility>

#include "glog/logging.h"
#include "lock/pause.h"
#include "runtime/this_thread.h"

namespace acre {

LockThread::LockThread(Scheduler* scheduler, LocalArena* arena, const Options& options)
    : scheduler_(scheduler), arena_(arena), options_(options) {
  CHECK(options_.budget >= 1 && options_.budget <= LockBudgets::kMax);
  scheduler_->AddPoller(this);
}

LockThread::~LockThread() {
  while (!abandoned_.empty()) Poll();
  CHECK_EQ(free_count_, places_.size()) << "a lock is held or awaited beyond its thread";
  for (const Place& place : places_) arena_->Free(place.word);
  scheduler_->RemovePoller(this);
}

LockThread::Place* LockThread::ClaimPlace() {
  const LocalWord word = arena_->Claim(options_.process_id);
  if (word.is_null()) return nullptr;
  Place* const place = &places_.emplace_back();
  place->word = word;
  place->descriptor = arena_->Find(word);
  return place;
}

LockThread::Place* LockThread::Queue(Place* place, LocalWord pred) {
  place->phase = Place::Phase::kQueued;
  place->pred = pred;
  if (pred.is_null()) {
    (void)Contend(place);
  } else {
    place->pred_descriptor = arena_->Find(pred);
    if (spin_judge_.ShouldSpin()) Spin(place);
  }
  return place;
}

void LockThread::Spin(Place* place) {
  for (int i = 0; i < kPausesBeforeLooks; ++i) PauseThread();
  for (int i = 0; i < kLooks && !Advance(place); ++i) PauseThread();
  spin_judge_.Report(place->held());
}

LockThread::Place* LockThread::TryStart(const MappedLock& lock) {
  Place* const place = Take(lock);
  if (place == nullptr) return nullptr;
  if (!Steps::TryEnqueue(lock.words, place->descriptor, place->word)) {
    Give(place);
    return nullptr;
  }
  if (Steps::OtherIsAbsent(*lock.words)) return Enter(place, options_.budget);
  GiveUpLead(place);
  return nullptr;
}

bool LockThread::Contend(Place* place) {
  if (place->phase != Place::Phase::kContending && !Steps::OtherIsAbsent(*place->lock)) {
    Steps::BecomeVictim(place->lock);
    place->phase = Place::Phase::kContending;
  }
  if (place->phase == Place::Phase::kContending && !Steps::MayEnter(*place->lock)) return false;
  (void)Enter(place, options_.budget);
  return true;
}

bool LockThread::Advance(Place* place) {
  switch (place->phase) {
    case Place::Phase::kHeld:
      return true;
    case Place::Phase::kContending:
      return Contend(place);
    case Place::Phase::kQueued:
      break;
  }
  const absl::optional<uint32_t> granted = Steps::Granted(*place->pred_descriptor, place->pred);
  if (!granted.has_value()) return false;
  if (*granted == 0) return Contend(place);
  (void)Enter(place, *granted);
  return true;
}

Task<bool> LockThread::AwaitUntil(Place* place, uint64_t deadline_ns) {
  Pause pause;
  while (!Advance(place)) {
    if (deadline_ns != UINT64_MAX && scheduler_->NowNs() >= deadline_ns) co_return false;
    co_await pause.Take(scheduler_);
  }
  co_return true;
}

void LockThread::GiveUpLead(Place* place) {
  // Else a remote leader that was the last to do B2 waits for as long as local ones come, lead, and give up.
  Steps::BecomeVictim(place->lock);
  Leave(place, /*grant=*/0);
}

void LockThread::Abandon(Place* place) {
  DCHECK(!place->held());
  if (!LeaveAbandoned(place)) abandoned_.push_back(place);
}

bool LockThread::LeaveAbandoned(Place* place) {
  // Whoever gives up does not ask the other cohort: with the lock or with leadership only, it hands on.
  absl::optional<uint32_t> granted = 0;
  if (place->phase == Place::Phase::kQueued) {
    granted = Steps::Granted(*place->pred_descriptor, place->pred);
    if (!granted.has_value()) return false;
  }
  if (*granted == 0) {
    GiveUpLead(place);
  } else {
    Leave(place, *granted - 1);
  }
  return true;
}

void LockThread::ForgetAbandoned() {
  for (Place* const place : abandoned_) Give(place);
  abandoned_.clear();
}

bool LockThread::Poll() {
  std::erase_if(abandoned_, [this](Place* place) { return LeaveAbandoned(place); });
  // A queue behind one of these must not wait for this thread to wake up: as long as there are any it polls.
  return !abandoned_.empty();
}

LockSet::~LockSet() {
  if (waiting_ != nullptr) thread_->Abandon(waiting_);
  ReleaseAll();
}

bool LockSet::Start(const MappedLock& lock) {
  CHECK(waiting_ == nullptr);
  CHECK(highest_ < lock.address.bits()) << "locks are taken in address order";
  highest_ = lock.address.bits();
  LockThread::Place* const place = thread_->Start(lock);
  if (place != nullptr && place->held()) {
    held_.push_back(place);
    return true;
  }
  waiting_ = place;
  return false;
}

Task<absl::Status> LockSet::Wait(uint64_t deadline_ns) {
  if (waiting_ == nullptr) {
    co_return absl::ResourceExhaustedError(
        "more locks are held and awaited at once than this server has places for: try again");
  }
  const bool is_held = co_await thread_->AwaitUntil(waiting_, deadline_ns);
  LockThread::Place* const place = std::exchange(waiting_, nullptr);
  if (!is_held) {
    thread_->Abandon(place);
    co_return absl::DeadlineExceededError("others kept the lock for longer than it was to wait");
  }
  held_.push_back(place);
  co_return absl::OkStatus();
}

bool LockSet::TryAcquire(const MappedLock& lock) {
  LockThread::Place* const place = thread_->TryStart(lock);
  if (place == nullptr) return false;
  held_.push_back(place);
  return true;
}

void LockSet::ReleaseAll() {
  // Newest first: the home's lock, which the others of its keys wait for, comes last.
  while (!held_.empty()) {
    thread_->Release(held_.back());
    held_.pop_back();
  }
  highest_ = 0;
}

}  // namespace acre
