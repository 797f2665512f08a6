#include "bench/lock_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/cpu_locks.h"
#include "glog/logging.h"
#include "runtime/this_thread.h"
#include "transport/region_header.h"

namespace acre::bench {
namespace {

using transport::kRegionHeaderBytes;
using transport::QueuePairState;

// Mapped locks take about as long as reading the clock: of so many operations one is timed, and counts for all.
constexpr uint64_t kMappedSample = 7;
// After so many operations that did not wait the thread looks whether its peers are still there.
constexpr uint64_t kOperationsPerLook = 256;

constexpr size_t kFabricKindsCount = 3;

}  // namespace

LockWorker::LockWorker(const Options& options)
    : options_(options),
      load_(*options.load),
      node_(load_.NodeOfProcess(load_.ProcessOfThread(options.number))),
      scheduler_({.clock = load_.clock,
                  .seed = options.number,
                  .poll_mode = load_.poll,
                  .name = absl::StrCat("thread ", options.number)}),
      ticks_(load_.clock->tick_clock()),
      hold_ticks_(static_cast<uint64_t>(load_.hold_ns * load_.clock->ticks_per_ns())),
      random_(load_.seed << 16 | options.number),
      next_region_id_(options.region_id_first) {
  if (load_.counts) taken_.resize(LockIndexesCount(load_));
}

LockWorker::~LockWorker() {
  scheduler_.DetachFromThread();
  for (const auto& queue_pair : queue_pairs_) port_->Forget(queue_pair.get());
  homes_.clear();
  lock_thread_.reset();
  arena_.reset();
  queue_pairs_.clear();
  port_.reset();
}

absl::Status LockWorker::Connect(absl::Span<const std::string> endpoints) {
  auto queue = options_.fabric->CreateCompletionQueue();
  if (!queue.ok()) return queue.status();
  queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  for (const std::string& endpoint : endpoints) {
    auto connecting =
        options_.fabric->Connect(endpoint, queue_.get(), absl::StrCat(options_.number));
    if (!connecting.ok()) return connecting.status();
    queue_pairs_.push_back(*std::move(connecting));
    transport::QueuePair& queue_pair = *queue_pairs_.back();
    while (queue_pair.state() == QueuePairState::kConnecting) scheduler_.RunOnce();
    if (queue_pair.state() == QueuePairState::kBroken) return queue_pair.status();
  }
  scheduler_.DetachFromThread();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RemoteLocker>> LockWorker::MakeLocker(uint32_t node, TableLock kind,
                                                                     const RemoteHome* home) {
  RemoteLocker::Options options;
  options.fabric = options_.fabric;
  options.region_id = next_region_id_++;
  options.cohort = {.port = port_.get(),
                    .home = home,
                    .peers = this,
                    .descriptors = options_.descriptors,
                    .kind = kind == TableLock::kALock ? LockKind::kALock
                            : kind == TableLock::kMcs ? LockKind::kMcs
                                                      : LockKind::kSpin,
                    .budget = load_.budgets.remote};
  CHECK_LT(options.region_id, options_.region_id_first + kRegionsMax) << "of node " << node;
  return RemoteLocker::Create(options);
}

absl::Status LockWorker::Attach(absl::Span<const LockKeys> keys) {
  CHECK_EQ(keys.size(), queue_pairs_.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    peers_.push_back({.queue_pair = queue_pairs_[i].get(), .descriptors = keys[i].descriptors});
  }
  homes_.resize(load_.nodes);
  for (uint32_t node = 0; node < load_.nodes; ++node) {
    Home& home = homes_[node];
    const uint32_t process = load_.HomeOfNode(node);
    home.plain.queue_pair = queue_pairs_[process].get();
    home.plain.regions = {{kLockRegionFirst + node, keys[process].locks}};
    home.recorded = home.plain;
    if (load_.intents) home.recorded.intents = keys[process].intents;
    for (size_t i = 0; i < kFabricKindsCount; ++i) {
      const auto kind = static_cast<TableLock>(i);
      if (kind == TableLock::kALock && node == node_) continue;  // From the other side.
      auto locker =
          MakeLocker(node, kind, kind == TableLock::kALock ? &home.recorded : &home.plain);
      if (!locker.ok()) return locker.status();
      home.lockers[i] = *std::move(locker);
    }
  }
  auto counter = options_.fabric->CreateRegion({.region_id = next_region_id_++,
                                                .size_bytes = kRegionHeaderBytes + kLineBytes,
                                                .name = "guarded counters"});
  if (!counter.ok()) return counter.status();
  counter_ = *std::move(counter);
  return AttachOwnNode(keys[load_.HomeOfNode(node_)]);
}

absl::Status LockWorker::AttachOwnNode(const LockKeys& keys) {
  SharedWord* arena_words;
  size_t arena_bytes;
  if (options_.locks != nullptr) {
    own_locks_ = options_.locks->words();
    arena_words = options_.arena->words();
    arena_bytes = options_.arena->size_bytes();
  } else {
    transport::QueuePair& home = *queue_pairs_[load_.HomeOfNode(node_)];
    const auto locks = home.Map(keys.locks);
    if (!locks.ok()) return locks.status();
    const auto arena = home.Map(keys.arena);
    if (!arena.ok()) return arena.status();
    own_locks_ = locks->writable_words;
    arena_words = arena->writable_words;
    arena_bytes = arena->size_bytes;
  }
  constexpr size_t kHeaderWords = kRegionHeaderBytes / kWordBytes;
  arena_ = std::make_unique<LocalArena>(
      absl::MakeSpan(arena_words + kHeaderWords, arena_bytes / kWordBytes - kHeaderWords));
  lock_thread_ = std::make_unique<LockThread>(
      &scheduler_, arena_.get(),
      LockThread::Options{.process_id = options_.descriptors->process_id(),
                          .budget = load_.budgets.local});
  scheduler_.DetachFromThread();  // For the threads of Run().
  return absl::OkStatus();
}

Task<absl::StatusOr<LockPeers::Peer>> LockWorker::Find(uint32_t process_id) {
  if (process_id == 0 || process_id > peers_.size()) {
    co_return absl::UnavailableError("there is no such process");
  }
  co_return peers_[process_id - 1];
}

LockWorker::Pick LockWorker::PickLock(const LockTask& task) {
  Pick pick = {.node = node_};
  if (task.locality_percent < 100 && random_.Uniform(100) >= task.locality_percent) {
    // Every lock of the others alike.
    auto number =
        static_cast<uint32_t>(random_.Uniform(task.locks - load_.LocksOfNode(node_, task.locks)));
    pick.node = node_ == 0 ? 1 : 0;
    while (number >= load_.LocksOfNode(pick.node, task.locks)) {
      number -= load_.LocksOfNode(pick.node, task.locks);
      if (++pick.node == node_) ++pick.node;
    }
    pick.number = number;
    return pick;
  }
  pick.number = static_cast<uint32_t>(random_.Uniform(load_.LocksOfNode(node_, task.locks)));
  return pick;
}

MappedLock LockWorker::Mapped(TableLock kind, Pick pick) const {
  const GlobalAddress address = TableLockAddress(load_, kind, pick.node, pick.number);
  return {.words = reinterpret_cast<LockWords*>(own_locks_ + address.offset_bytes() / kWordBytes),
          .address = address};
}

void LockWorker::Hold() {
  if (hold_ticks_ == 0) return;
  const uint64_t end_ticks = ticks_.Ticks() + hold_ticks_;
  while (ticks_.Ticks() < end_ticks) PauseThread();
}

void LockWorker::UseMapped(TableLock kind, Pick pick) {
  if (!load_.counts) return Hold();
  // Not atomic: it comes out right only if the lock keeps others away.
  SharedWord* const counter =
      reinterpret_cast<SharedWord*>(Mapped(kind, pick).words) + kGuardedOffsetBytes / kWordBytes;
  const uint64_t count = counter->Load(std::memory_order_relaxed);
  Hold();
  counter->Store(count + 1, std::memory_order_relaxed);
  ++taken_[LockIndex(load_, kind, pick.node, pick.number)];
}

uint64_t LockWorker::TakeCpuLock(TableLock kind, Pick pick) {
  LockWords* const words = Mapped(kind, pick).words;
  static_assert(sizeof(CpuTicketLock) <= sizeof(LockWords));
  static_assert(sizeof(CpuSpinLock) <= sizeof(LockWords));
  const auto take = [&](auto* lock) {
    lock->Lock();
    const uint64_t held_ticks = ticks_.Ticks();
    UseMapped(kind, pick);
    lock->Unlock();
    return held_ticks;
  };
  struct NoLock {
    void Lock() {}
    void Unlock() {}
  } none;
  if (kind == TableLock::kNone) return take(&none);
  if (kind == TableLock::kTicket) return take(reinterpret_cast<CpuTicketLock*>(words));
  return take(reinterpret_cast<CpuSpinLock*>(words));
}

Task<absl::StatusOr<uint64_t>> LockWorker::TakeThroughFabric(TableLock kind, Pick pick) {
  Home& home = homes_[pick.node];
  RemoteLocker& locker = *home.lockers[static_cast<size_t>(kind)];
  const GlobalAddress lock = TableLockAddress(load_, kind, pick.node, pick.number);
  absl::StatusOr<HeldLock> held = co_await locker.Acquire(lock);
  if (!held.ok()) co_return held.status();
  const uint64_t held_ticks = ticks_.Ticks();
  transport::WorkRequest request;
  absl::Span<const transport::WorkRequest> data;
  if (load_.counts) {
    request.opcode = transport::Opcode::kRead;
    request.local = counter_->words() + kRegionHeaderBytes / kWordBytes;
    request.local_region = counter_.get();
    request.length_bytes = kWordBytes;
    request.remote_key = home.plain.regions.front().second;
    request.remote_offset_bytes = lock.offset_bytes() + kGuardedOffsetBytes;
    const transport::CompletionStatus read =
        co_await port_->Execute(home.plain.queue_pair, {&request, 1});
    if (read != transport::CompletionStatus::kOk) co_return home.plain.queue_pair->status();
    request.local->Store(request.local->Load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
    request.opcode = transport::Opcode::kWrite;
    data = {&request, 1};
    ++taken_[LockIndex(load_, kind, pick.node, pick.number)];
  }
  Hold();
  const absl::Status released = co_await locker.Release(*std::move(held), data);
  if (!released.ok()) co_return released;
  co_return held_ticks;
}

void LockWorker::SettleVerbs(LockSide next_side, LockTotal* total) {
  transport::VerbCounters now;
  for (const auto& queue_pair : queue_pairs_) now += queue_pair->verbs();
  transport::VerbCounters since = now;
  since -= verbs_;
  verbs_ = now;
  total->verbs[std::exchange(verbs_side_, next_side)] += since;
}

Task<void> LockWorker::Drain() {
  while (!lock_thread_->idle()) co_await scheduler_.Yield();
  for (const Home& home : homes_) {
    for (const auto& locker : home.lockers) {
      if (locker != nullptr) co_await locker->Drain();
    }
  }
}

Task<absl::Status> LockWorker::Load(LockSlice slice, LockTotal* total) {
  co_await scheduler_.SleepUntil(slice.begin_ns);
  const TableLock kind = slice.task.kind;
  const bool maps_own = kind == TableLock::kALock || IsCpuLock(kind);
  const double ns_per_tick = 1 / load_.clock->ticks_per_ns();
  const uint64_t end_ticks = load_.clock->TicksAt(slice.end_ns);
  const uint64_t begin_ns = load_.clock->NowNs();
  for (uint64_t count = 1;; ++count) {
    const uint64_t begin_ticks = ticks_.Ticks();
    if (begin_ticks >= end_ticks) break;
    const Pick pick = PickLock(slice.task);
    const LockSide side = pick.node == node_ ? kOwnLock : kOthersLock;
    uint64_t held_ticks = 0;
    uint64_t weight = count % kMappedSample == 0 ? kMappedSample : 0;
    if (!maps_own || side == kOthersLock) {
      if (side != verbs_side_) SettleVerbs(side, total);
      const absl::StatusOr<uint64_t> taken = co_await TakeThroughFabric(kind, pick);
      if (!taken.ok()) co_return taken.status();
      held_ticks = *taken;
      weight = 1;
    } else if (IsCpuLock(kind)) {
      held_ticks = TakeCpuLock(kind, pick);
    } else {
      LockThread::Place* const place = lock_thread_->Start(Mapped(kind, pick));
      CHECK(place != nullptr) << "the arena has room for all threads";
      if (!place->held()) (void)co_await lock_thread_->Await(place);
      held_ticks = ticks_.Ticks();
      UseMapped(kind, pick);
      lock_thread_->Release(place);
      if (!lock_thread_->idle()) co_await scheduler_.Yield();
    }
    ++total->operations[side];
    if (weight > 0) {
      const auto ticks = static_cast<double>(held_ticks - begin_ticks);
      total->acquire_ns.Add(static_cast<uint64_t>(ticks * ns_per_tick), weight);
    }
    if (count % kOperationsPerLook == 0) co_await scheduler_.Yield();
  }
  total->run_ns = load_.clock->NowNs() - begin_ns;
  co_await Drain();
  SettleVerbs(verbs_side_, total);
  co_return absl::OkStatus();
}

absl::StatusOr<LockTotal> LockWorker::Run(const LockSlice& slice) {
  LockTotal total;
  const absl::Status status = scheduler_.RunUntilDone(Load(slice, &total));
  scheduler_.DetachFromThread();
  if (!status.ok()) return status;
  return total;
}

}  // namespace acre::bench
