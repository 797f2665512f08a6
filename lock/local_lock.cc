#include "lock/local_lock.h"

#include "glog/logging.h"

namespace acre {
namespace {

// Looks at a successor's link before other things are done meanwhile: it is two instructions away, unless its
// thread was preempted in between.
constexpr int kLinkSpins = 64;

}  // namespace

LockThread::LockThread(Scheduler* scheduler, LocalArena* arena, const Options& options)
    : scheduler_(scheduler), arena_(arena), options_(options) {
  CHECK(options_.budget >= 1 && options_.budget <= LockBudgets::kMax);
  scheduler_->AddPoller(this);
}

LockThread::~LockThread() {
  while (!leaving_.empty()) Poll();
  CHECK_EQ(free_.size(), places_.size()) << "a lock is held or awaited beyond its thread";
  for (const Place& place : places_) arena_->Free(place.word);
  scheduler_->RemovePoller(this);
}

LockThread::Place* LockThread::Take(const MappedLock& lock) {
  Place* place;
  if (!free_.empty()) {
    place = free_.back();
    free_.pop_back();
    place->word = place->word.Next();
  } else {
    const LocalWord word = arena_->Claim(options_.process_id);
    if (word.is_null()) return nullptr;
    place = &places_.emplace_back();
    place->word = word;
    place->descriptor = arena_->Find(word);
  }
  place->lock = lock.words;
  Steps::Prepare(place->descriptor, place->word, lock.address.bits());
  return place;
}

void LockThread::Give(Place* place) { free_.push_back(place); }

LockThread::Place* LockThread::Start(const MappedLock& lock) {
  Place* const place = Take(lock);
  if (place == nullptr) return nullptr;
  place->phase = Place::Phase::kQueued;
  const LocalWord pred = Steps::Enqueue(lock.words, place->descriptor, place->word);
  if (pred.is_null()) {
    (void)Contend(place);
  } else {
    Steps::Link(arena_->Find(pred), place->word);
  }
  return place;
}

LockThread::Place* LockThread::TryStart(const MappedLock& lock) {
  Place* const place = Take(lock);
  if (place == nullptr) return nullptr;
  if (!Steps::TryEnqueue(lock.words, place->descriptor, place->word)) {
    Give(place);
    return nullptr;
  }
  if (Steps::OtherIsAbsent(*lock.words)) {
    place->phase = Place::Phase::kHeld;
    place->budget = options_.budget;
    return place;
  }
  // A leader that leaves: whoever came behind meanwhile leads.
  Leave(place, /*grant=*/0);
  return nullptr;
}

bool LockThread::Contend(Place* place) {
  if (place->phase != Place::Phase::kContending && !Steps::OtherIsAbsent(*place->lock)) {
    Steps::BecomeVictim(place->lock);
    place->phase = Place::Phase::kContending;
  }
  if (place->phase == Place::Phase::kContending && !Steps::MayEnter(*place->lock)) return false;
  place->phase = Place::Phase::kHeld;
  place->budget = options_.budget;
  return true;
}

bool LockThread::Advance(Place* place) {
  switch (place->phase) {
    case Place::Phase::kHeld:
      return true;
    case Place::Phase::kContending:
      return Contend(place);
    case Place::Phase::kQueued: {
      const absl::optional<uint32_t> granted = Steps::Granted(*place->descriptor, place->word);
      if (!granted.has_value()) return false;
      if (*granted == 0) return Contend(place);
      place->budget = *granted;
      place->phase = Place::Phase::kHeld;
      return true;
    }
    case Place::Phase::kHandingOn:
      break;
  }
  LOG(FATAL) << "this lock was released";
}

void LockThread::Release(Place* place) {
  DCHECK(place->held());
  Leave(place, place->budget - 1);
}

void LockThread::Abandon(Place* place) {
  DCHECK(!place->held());
  if (LeaveOneStep(place)) return Give(place);
  leaving_.push_back(place);
}

void LockThread::Leave(Place* place, uint32_t grant) {
  bool left = LeaveNow(place, grant);
  for (int spins = 0; !left && spins < kLinkSpins; ++spins) left = HandOn(place);
  if (left) return Give(place);
  leaving_.push_back(place);
}

bool LockThread::LeaveNow(Place* place, uint32_t grant) {
  place->phase = Place::Phase::kHandingOn;
  place->budget = grant;
  if (HandOn(place)) return true;
  return Steps::LeaveEmpty(place->lock, place->word);
}

bool LockThread::HandOn(Place* place) {
  const LocalWord next = Steps::Successor(*place->descriptor, place->word);
  if (next.is_null()) return false;
  Steps::Grant(arena_->Find(next), next, place->budget);
  return true;
}

bool LockThread::LeaveOneStep(Place* place) {
  if (place->phase == Place::Phase::kHandingOn) return HandOn(place);
  // Whoever gives up does not ask the other cohort: with the lock or with leadership only, it hands on.
  absl::optional<uint32_t> granted = 0;
  if (place->phase == Place::Phase::kQueued) {
    granted = Steps::Granted(*place->descriptor, place->word);
    if (!granted.has_value()) return false;
  }
  return LeaveNow(place, *granted == 0 ? 0 : *granted - 1);
}

bool LockThread::Poll() {
  for (size_t i = 0; i < leaving_.size();) {
    if (!LeaveOneStep(leaving_[i])) {
      ++i;
      continue;
    }
    Give(leaving_[i]);
    leaving_[i] = leaving_.back();
    leaving_.pop_back();
  }
  // A queue behind one of these must not wait for this thread to wake up: as long as there are any it polls.
  return !leaving_.empty();
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
  CHECK(place != nullptr) << "no descriptor is left for a lock";
  if (place->held()) {
    held_.push_back(place);
    return true;
  }
  waiting_ = place;
  return false;
}

Task<void> LockSet::Wait() {
  CHECK(waiting_ != nullptr);
  // Holders do not suspend while they change things, so the wait is short: it polls, it does not
  // sleep.
  while (!thread_->Advance(waiting_)) co_await scheduler()->Yield();
  held_.push_back(waiting_);
  waiting_ = nullptr;
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
