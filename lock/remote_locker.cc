#include "lock/remote_locker.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "transport/region_header.h"

namespace acre {
namespace {

absl::Status Lost() {
  return absl::UnavailableError(
      "the connection to the home of this lock is gone, and with it all that was held there: "
      "connect again");
}

}  // namespace

// A place, and who goes on with it.
struct RemoteLocker::Entry {
  explicit Entry(Scheduler* scheduler) : settled(scheduler) {}

  Place place;
  bool is_taken = false;
  bool runs = false;        // In a task of its own.
  bool is_awaited = false;  // By a Release(), which gives the entry back.
  uint32_t under_way = 0;   // Requests that a task left behind when it was destroyed.
  Event settled;            // That task has reached the goal.
  SpawnHandle runner;
};

// Of a task that waits for an entry: if the task is destroyed the entry is forsaken.
class RemoteLocker::Owner {
 public:
  Owner(RemoteLocker* locker, Entry* entry) : locker_(locker), entry_(entry) {}
  ~Owner() {
    if (entry_ != nullptr) locker_->Forsake(entry_);
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  Entry* Release() { return std::exchange(entry_, nullptr); }

 private:
  RemoteLocker* const locker_;
  Entry* entry_;
};

absl::StatusOr<std::unique_ptr<RemoteLocker>> RemoteLocker::Create(const Options& options) {
  transport::RegionOptions region;
  region.region_id = options.region_id;
  region.size_bytes =
      transport::kRegionHeaderBytes +
      size_t{options.cohort.descriptors->descriptors_count()} * sizeof(RemoteCohort::Landing);
  region.name = "lock requests";
  auto landings = options.fabric->CreateRegion(region);
  if (!landings.ok()) return landings.status();
  return absl::WrapUnique(new RemoteLocker(options, *std::move(landings)));
}

RemoteLocker::RemoteLocker(const Options& options,
                           std::unique_ptr<transport::MemoryRegion> landings)
    : options_(options),
      cohort_(options.cohort),
      scheduler_(options.cohort.port->scheduler()),
      landings_(std::move(landings)),
      by_index_(options.cohort.descriptors->descriptors_count()),
      drained_(scheduler_) {
  options_.cohort.port->SetBufferOwner(landings_.get(), this);
}

RemoteLocker::~RemoteLocker() {
  options_.cohort.port->SetBufferOwner(landings_.get(), nullptr);
  for (Entry& entry : entries_) {
    if (entry.runs) {
      CHECK(entry.place.goal == Goal::kLeave) << "somebody still waits for a lock";
      entry.runner.Cancel();
    }
    // One that is given up in a queue is never used again: who is next to it there may still write to it.
    if (!entry.is_taken) options_.cohort.descriptors->Free(entry.place.word);
  }
}

absl::StatusOr<RemoteLocker::Entry*> RemoteLocker::Take(GlobalAddress lock, Goal goal) {
  if (cohort_.home_is_lost()) return Lost();
  Entry* entry = nullptr;
  if (!free_.empty()) {
    entry = free_.back();
    free_.pop_back();
    entry->place.word = entry->place.word.Next();
  } else {
    const RemoteWord word = options_.cohort.descriptors->Claim();
    if (word.is_null()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("this process holds or awaits as many locks of one home as it may, ",
                       options_.cohort.descriptors->descriptors_count()));
    }
    entry = &entries_.emplace_back(scheduler_);
    entry->place.word = word;
    entry->place.landing = reinterpret_cast<RemoteCohort::Landing*>(
                               landings_->words() + transport::kRegionHeaderBytes / kWordBytes) +
                           word.index();
    entry->place.landing_region = landings_.get();
    by_index_[word.index()] = entry;
  }
  if (absl::Status status = cohort_.Prepare(&entry->place, lock, goal); !status.ok()) {
    free_.push_back(entry);
    return status;
  }
  entry->is_taken = true;
  return entry;
}

void RemoteLocker::Give(Entry* entry) {
  DCHECK(entry->is_taken && !entry->runs && entry->under_way == 0);
  options_.cohort.descriptors->SetLeft(entry->place.word);
  // A spoilt one stays taken for good, and so does one whose home was lost: neighbours in the queue may still write
  // to it.
  if (entry->place.phase == Phase::kLost) return;
  if (options_.cohort.descriptors->IsSpoilt(entry->place.word)) return;
  entry->is_taken = false;
  free_.push_back(entry);
}

Task<void> RemoteLocker::Run(Entry* entry) {
  co_await cohort_.Run(&entry->place);
  entry->runs = false;
  --in_background_;
  entry->settled.Set();
  if (entry->place.goal == Goal::kLeave && !entry->is_awaited) Give(entry);
  if (idle()) drained_.NotifyAll();
}

void RemoteLocker::RunInBackground(Entry* entry) {
  entry->runs = true;
  ++in_background_;
  entry->settled.Reset();
  entry->runner = scheduler_->Spawn(Run(entry));
}

void RemoteLocker::Forsake(Entry* entry) {
  Place& place = entry->place;
  place.goal = Goal::kLeave;
  entry->is_awaited = false;
  // The one that runs it looks at the goal; the end of what is under way comes back here.
  if (entry->runs || entry->under_way > 0) return;
  if (cohort_.home_is_lost()) place.phase = Phase::kLost;
  const bool was_posted =
      place.landing->old.Load(std::memory_order_relaxed) != RemoteCohort::kNoAnswer;
  if (!was_posted && place.phase == Phase::kEnqueued) place.phase = Phase::kOutside;
  if (!was_posted && place.phase == Phase::kLeft) place.phase = Phase::kLeaving;
  if (place.phase == Phase::kOutside || place.phase == Phase::kLost) return Give(entry);
  RunInBackground(entry);
}

void RemoteLocker::Drop(void* place) { Forsake(static_cast<Entry*>(place)); }

Task<absl::StatusOr<HeldLock>> RemoteLocker::AcquireUntil(GlobalAddress lock,
                                                          uint64_t deadline_ns) {
  if (deadline_ns == UINT64_MAX) return AcquireNow(lock);
  return WithDeadline(*scheduler_, deadline_ns, AcquireNow(lock));
}

Task<absl::StatusOr<HeldLock>> RemoteLocker::AcquireNow(GlobalAddress lock) {
  const absl::StatusOr<Entry*> taken = Take(lock, Goal::kHold);
  if (!taken.ok()) co_return taken.status();
  Entry* const entry = *taken;
  Owner owner(this, entry);
  co_await cohort_.Enqueue(&entry->place);
  if (entry->place.phase != Phase::kHeld && entry->place.phase != Phase::kLost) {
    RunInBackground(entry);
    co_await entry->settled.Wait();
  }
  (void)owner.Release();
  if (entry->place.phase == Phase::kHeld) co_return HeldLock(this, entry);
  CHECK(entry->place.phase == Phase::kLost);
  Give(entry);
  co_return Lost();
}

Task<absl::StatusOr<HeldLock>> RemoteLocker::TryAcquire(GlobalAddress lock) {
  const absl::StatusOr<Entry*> taken = Take(lock, Goal::kTry);
  if (!taken.ok()) co_return taken.status();
  Entry* const entry = *taken;
  Owner owner(this, entry);
  co_await cohort_.Enqueue(&entry->place);
  if (entry->place.phase == Phase::kHeld) co_return HeldLock(this, owner.Release());
  // Not in the queue, or to leave it: the owner sees to it.
  if (entry->place.phase == Phase::kLost) co_return Lost();
  co_return HeldLock();
}

Task<absl::Status> RemoteLocker::Release(HeldLock lock,
                                         absl::Span<const transport::WorkRequest> data) {
  Entry* const entry = static_cast<Entry*>(Unwrap(&lock));
  entry->place.goal = Goal::kLeave;
  Owner owner(this, entry);
  co_await cohort_.Leave(&entry->place, data);
  if (entry->place.phase != Phase::kOutside && entry->place.phase != Phase::kLost) {
    // Somebody is behind us. In a task of its own, which goes on if this one is destroyed.
    entry->is_awaited = true;
    RunInBackground(entry);
    co_await entry->settled.Wait();
  }
  // The owner gives the entry back.
  if (entry->place.phase == Phase::kLost) co_return Lost();
  CHECK(entry->place.phase == Phase::kOutside);
  co_return absl::OkStatus();
}

RemoteWord RemoteLocker::WordOf(const HeldLock& lock) const {
  return static_cast<const Entry*>(PlaceOf(lock))->place.word;
}

Task<void> RemoteLocker::Drain() {
  while (!idle()) co_await drained_.Wait();
}

RemoteLocker::Entry* RemoteLocker::EntryOf(const SharedWord* landing) {
  const auto offset = static_cast<size_t>(landing - landings_->words()) * kWordBytes;
  return by_index_[(offset - transport::kRegionHeaderBytes) / sizeof(RemoteCohort::Landing)];
}

void RemoteLocker::OnAbandoned(SharedWord* local) {
  ++EntryOf(local)->under_way;
  ++under_way_;
}

void RemoteLocker::OnAbandonedEnd(SharedWord* local) {
  Entry* const entry = EntryOf(local);
  --under_way_;
  if (--entry->under_way == 0) Forsake(entry);
  if (idle()) drained_.NotifyAll();
}

}  // namespace acre
