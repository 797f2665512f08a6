#include "lock/kill/child.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "lock/kill/local_child.h"
#include "lock/kill/remote_child.h"
#include "transport/shm/shm_fabric.h"
#include "transport/tcp/tcp_fabric.h"

namespace acre::lock_kill {
namespace {

constexpr uint64_t kUs = 1'000;
constexpr uint64_t kLookNs = 50 * kUs;
constexpr uint64_t kThinkNsMax = 300 * kUs;
constexpr uint64_t kPatienceNsMax = 300 * kUs;

}  // namespace

std::unique_ptr<transport::Fabric> Link::MakeFabric(Clock* clock, absl::string_view endpoint) {
  absl::StatusOr<std::unique_ptr<transport::Fabric>> fabric;
  if (absl::StartsWith(endpoint, "shm:")) {
    fabric = transport::ShmFabric::Create({.clock = clock});
  } else {
    fabric = transport::TcpFabric::Create({.clock = clock});
  }
  CHECK(fabric.ok()) << fabric.status();
  return *std::move(fabric);
}

void Link::Open(Clock* clock, Scheduler* scheduler, absl::string_view endpoint) {
  fabric = MakeFabric(clock, endpoint);
  auto made = fabric->CreateCompletionQueue();
  CHECK(made.ok()) << made.status();
  queue = *std::move(made);
  port = std::make_unique<transport::Port>(scheduler, queue.get());
}

void Link::Connect(absl::string_view endpoint, uint32_t process_id) {
  auto connecting = fabric->Connect(endpoint, queue.get(), absl::StrCat(process_id));
  CHECK(connecting.ok()) << connecting.status();
  home = *std::move(connecting);
}

void Link::Close() {
  if (home != nullptr) port->Forget(home.get());
  home.reset();
  port.reset();
  queue.reset();
}

Child::Child(const Message& setup, Control* control, Clock* clock)
    : setup_(setup),
      control_(control),
      clock_(clock),
      scheduler_({.clock = clock, .seed = setup.word, .name = "child"}),
      random_(setup.word) {}

void Child::Tell(MessageKind kind, absl::string_view text) const {
  Message message;
  message.kind = kind;
  message.SetText(text);
  CHECK(control_->Send(message)) << text;
}

Task<void> Child::MapBoard() {
  // The key may be heard of before the connection is.
  while (!board_key_.has_value() || link_.home->state() == transport::QueuePairState::kConnecting) {
    co_await scheduler_.SleepFor(kLookNs);
  }
  const auto mapped = link_.home->Map({*board_key_});
  CHECK(mapped.ok()) << mapped.status();
  board_ = BoardIn(mapped->writable_words);
}

Task<void> Child::WorkAll(Locker* locker) {
  std::vector<SpawnHandle> tasks;
  for (uint32_t task = 0; task < kTasks; ++task) {
    tasks.push_back(scheduler_.Spawn(Work(locker, task)));
  }
  for (SpawnHandle& task : tasks) co_await task.Join();
}

Task<void> Child::Work(Locker* locker, uint32_t task) {
  while (!stops_) {
    const auto lock = static_cast<uint32_t>(random_.Uniform(kLocks));
    const uint64_t manner = random_.Uniform(10);
    absl::StatusOr<HeldLock> held;
    if (manner == 0) {
      held = co_await locker->TryAcquire(LockAddress(lock));
    } else if (manner == 1) {
      const uint64_t deadline_ns = scheduler_.NowNs() + random_.Uniform(kPatienceNsMax);
      held = co_await locker->AcquireUntil(LockAddress(lock), deadline_ns);
    } else {
      place().waiting[task].Store(lock + 1, std::memory_order_release);
      held = co_await locker->Acquire(LockAddress(lock));
      place().waiting[task].Store(0, std::memory_order_release);
    }
    absl::Status status = held.status();
    if (held.ok() && *held) status = co_await Update(lock, task, *std::move(held));
    if (absl::IsUnavailable(status)) {
      Tell(MessageKind::kLost, status.message());
      break;
    }
    if (!status.ok() && !absl::IsDeadlineExceeded(status)) {
      Tell(MessageKind::kFinding,
           absl::StrCat("process ", setup_.process_id, ", lock ", lock, ": ", status.ToString()));
      break;
    }
    co_await scheduler_.SleepFor(random_.Uniform(kThinkNsMax));
  }
}

void Child::LookAtConfirmed(uint32_t lock) {
  // Acquire: the record is read behind it.
  confirmed_[lock] = board_->locks[lock].confirmed.Load(std::memory_order_acquire);
}

absl::Status Child::JudgeFound(uint32_t lock, const uint64_t* guarded) const {
  if (guarded[kInsideWord] != 0) {
    return absl::InternalError(absl::StrCat("process ", guarded[kInsideWord], " is inside"));
  }
  for (uint32_t i = 1; i < kRecordWords; ++i) {
    if (guarded[i] == guarded[0]) continue;
    return absl::InternalError(absl::StrCat("a torn record, ", guarded[0], " and ", guarded[i]));
  }
  if (guarded[0] >= confirmed_[lock]) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the record is at ", guarded[0], ", ", confirmed_[lock], " were confirmed"));
}

Task<void> Child::OnInside(uint32_t lock, uint64_t word) {
  uint64_t nobody = 0;
  (void)board_->locks[lock].first_entry_ns.CompareExchange(&nobody, clock_->NowNs(),
                                                           std::memory_order_acq_rel);
  DieIf(Order::kDieInside);
  const auto is_to_hold = [this] {
    return place().order.Load(std::memory_order_acquire) == static_cast<uint64_t>(Order::kHold);
  };
  if (is_to_hold() && place().holding.Load(std::memory_order_relaxed) == 0) {
    place().holding_word.Store(word, std::memory_order_relaxed);
    place().holding.Store(lock + 1, std::memory_order_release);
    while (is_to_hold()) co_await scheduler_.SleepFor(kLookNs);
    place().holding.Store(0, std::memory_order_release);
  }
  if (random_.Uniform(4) == 0) co_await scheduler_.Yield();
  if (random_.Uniform(16) == 0) co_await scheduler_.SleepFor(random_.Uniform(100 * kUs));
}

absl::Status Child::JudgeStillInside(uint32_t lock, uint64_t inside) const {
  if (inside == setup_.process_id) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("process ", inside, " came inside lock ", lock, " beside us"));
}

void Child::OnAnnounce(uint32_t lock) {
  (void)board_->locks[lock].announced.FetchAdd(1, std::memory_order_acq_rel);
}

void Child::DieIf(Order order) const {
  if (place().order.Load(std::memory_order_acquire) != static_cast<uint64_t>(order)) return;
  PCHECK(kill(getpid(), SIGKILL) == 0);
}

void Child::StopIfTold() const {
  const auto order = static_cast<Order>(place().order.Load(std::memory_order_acquire));
  if (order == Order::kStopItself) PCHECK(kill(getpid(), SIGSTOP) == 0);
}

void Child::OnConfirmed(uint32_t lock) {
  (void)board_->locks[lock].confirmed.FetchAdd(1, std::memory_order_acq_rel);
  (void)place().progress.FetchAdd(1, std::memory_order_acq_rel);
}

void RunChild() {
  // A test that is killed leaves nobody behind.
  PCHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
  Control control((ScopedFd(kControlFd)));
  Message setup;
  if (!control.Await(&setup)) return;
  CHECK(setup.kind == MessageKind::kSetup);
  RealClock clock;
  std::unique_ptr<Child> child;
  if (setup.other != 0) {
    child = std::make_unique<LocalChild>(setup, &control, &clock);
  } else {
    child = std::make_unique<RemoteChild>(setup, &control, &clock);
  }
  child->Run();
}

}  // namespace acre::lock_kill
