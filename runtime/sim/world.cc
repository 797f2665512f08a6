#include "runtime/sim/world.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"

namespace acre::sim {
namespace {

// A thread that nobody disturbs still comes by so often.
constexpr uint64_t kSliceNs = 2'000;

}  // namespace

// What After() runs. Reused.
class World::FunctionEvent final : public Event {
 public:
  explicit FunctionEvent(World* world) : world_(world) {}

  std::function<void()> function;

 private:
  void Run() override {
    const std::function<void()> run = std::move(function);
    function = nullptr;
    world_->free_function_events_.push_back(this);
    run();
  }

  World* const world_;
};

World::World(const Options& options)
    : random_(options.seed),
      costs_(random_.Next(), options.stalls),
      store_buffers_(options.store_buffers),
      traces_accesses_(options.trace_accesses && options.trace_lines_max != 0),
      trace_(options.trace_lines_max) {
  if (options.caches) caches_.emplace();
}

World::~World() {
  CHECK(!is_running_);
  heap_.Clear();
}

Machine* World::AddMachine(std::string name) {
  // Far apart: times of one machine are nonsense on another.
  const uint64_t clock_start_ns = 1'000'000'000 + random_.Uniform(uint64_t{1} << 50);
  machines_.push_back(std::make_unique<Machine>(this, std::move(name), clock_start_ns));
  return machines_.back().get();
}

Process* World::AddProcess(Machine* machine, std::string name) {
  CHECK(!machine->is_crashed()) << machine->name() << " has crashed";
  const auto id = static_cast<uint32_t>(processes_.size() + 1);
  processes_.push_back(std::make_unique<Process>(this, machine, std::move(name), id));
  machine->processes_.push_back(processes_.back().get());
  return processes_.back().get();
}

Thread* World::AddThread(Process* process, std::string name, std::function<void()> body) {
  const auto id = static_cast<uint32_t>(threads_.size() + 1);
  auto fiber = std::make_unique<Fiber>(&stacks_, std::move(body));
  const StoreStyle drawn = costs_.DrawStoreStyle();
  threads_.push_back(std::make_unique<Thread>(this, process, std::move(name), id,
                                              store_buffers_ ? drawn : StoreStyle::kAtOnce,
                                              std::move(fiber)));
  Thread* const thread = threads_.back().get();
  process->threads_.push_back(thread);
  Schedule(thread, costs_.StartThread());
  return thread;
}

// ---- The loop.

void World::ScheduleAt(Event* event, uint64_t at_ns) {
  CHECK_GE(at_ns, NowNs()) << "time does not go back";
  heap_.Push(event, at_ns);
  horizon_ns_ = std::min(horizon_ns_, at_ns);
}

void World::Cancel(Event* event) {
  if (event->scheduled()) heap_.Remove(event);
}

void World::After(uint64_t delay_ns, std::function<void()> function) {
  if (free_function_events_.empty()) {
    function_events_.push_back(std::make_unique<FunctionEvent>(this));
    free_function_events_.push_back(function_events_.back().get());
  }
  FunctionEvent* const event = free_function_events_.back();
  free_function_events_.pop_back();
  event->function = std::move(function);
  Schedule(event, delay_ns);
}

bool World::RunUntil(const std::function<bool()>& done, uint64_t until_ns) {
  CHECK(!is_running_) << "RunUntil is called from inside the World";
  CHECK(simulated_cpu == nullptr) << "worlds do not nest";
  is_running_ = true;
  until_ns_ = until_ns;
  bool is_done = done();
  while (!is_done && heap_.first_ns() <= until_ns_ && !heap_.empty()) {
    now_ns_ = std::max(now_ns_, heap_.first_ns());
    if (stores_due_ns_ <= now_ns_) DrainDueStores(now_ns_);
    heap_.Pop()->Run();
    is_done = done();
  }
  if (!is_done && until_ns_ != kForever) now_ns_ = std::max(now_ns_, until_ns_);
  is_running_ = false;
  return is_done;
}

void World::RunThread(Thread* thread) {
  Process* const process = thread->process_;
  thread->is_blocked_ = false;  // Its time is up, or somebody woke it.
  if (process->is_paused_) {
    process->standing_.push_back(thread);
    return;
  }
  thread->now_ns_ = now_ns_;
  trace_.Hash(now_ns_);
  trace_.Hash(thread->id_);
  current_ = thread;
  slice_end_ns_ = now_ns_ + kSliceNs;
  SetHorizon();
  simulated_cpu = thread;
  thread->fiber_->Resume();
  simulated_cpu = nullptr;
  current_ = nullptr;
  if (!thread->fiber_->has_ended()) return;
  thread->has_ended_ = true;
  thread->fiber_.reset();
}

void World::SetHorizon() {
  horizon_ns_ = std::min({heap_.first_ns(), slice_end_ns_, stores_due_ns_});
}

void World::OnHorizon(Thread* thread) {
  CHECK(simulated_cpu == thread) << "a simulated thread waits inside an OutsideOfSimulatedThread";
  if (heap_.first_ns() <= thread->now_ns_ || slice_end_ns_ <= thread->now_ns_) {
    heap_.Push(thread, thread->now_ns_);
    return Leave(thread);
  }
  DrainDueStores(thread->now_ns_);
  SetHorizon();
}

void World::Leave(Thread* thread) {
  CHECK(simulated_cpu == thread) << "a simulated thread waits inside an OutsideOfSimulatedThread";
  thread->fiber_->Suspend();
}

void World::OnStore(Thread* thread) {
  const uint64_t due_ns = thread->stores_.first_due_ns();
  stores_due_ns_ = std::min(stores_due_ns_, due_ns);
  horizon_ns_ = std::min(horizon_ns_, due_ns);
  if (thread->in_buffering_) return;
  thread->in_buffering_ = true;
  buffering_.push_back(thread);
}

void World::DrainDueStores(uint64_t now_ns) {
  if (now_ns < stores_due_ns_) return;
  stores_due_ns_ = UINT64_MAX;
  for (size_t i = 0; i < buffering_.size();) {
    Thread* const thread = buffering_[i];
    thread->stores_.DrainDue(now_ns);
    if (thread->stores_.empty()) {
      thread->in_buffering_ = false;
      buffering_[i] = buffering_.back();
      buffering_.pop_back();
      continue;
    }
    stores_due_ns_ = std::min(stores_due_ns_, thread->stores_.first_due_ns());
    ++i;
  }
}

// ---- Inside a thread.

void World::Spend(uint64_t ns) {
  CHECK(current_ != nullptr) << "only a simulated thread spends time";
  current_->Spend(ns);
}

void World::SpendSystemCall() {
  CHECK(current_ != nullptr) << "only a simulated thread makes system calls";
  current_->stores_.DrainAll();
  current_->Spend(costs_.SystemCall());
}

void World::Sleep(uint64_t ns) {
  CHECK(current_ != nullptr) << "only a simulated thread can sleep";
  current_->stores_.DrainAll();
  heap_.Push(current_, current_->now_ns_ + ns);
  Leave(current_);
}

bool World::Block(uint64_t timeout_ns) {
  Thread* const thread = current_;
  CHECK(thread != nullptr) << "only a simulated thread can wait";
  thread->stores_.DrainAll();
  if (!thread->was_woken_) {
    thread->is_blocked_ = true;
    if (timeout_ns < kForever - thread->now_ns_) {
      heap_.Push(thread, thread->now_ns_ + timeout_ns);
    }
    Leave(thread);
  }
  return std::exchange(thread->was_woken_, false);
}

uint64_t World::StoresLandNs() const {
  CHECK(current_ != nullptr) << "only a simulated thread stores";
  return std::max(current_->now_ns_, current_->stores_.last_due_ns());
}

void World::LandStoresTo(const void* begin, size_t bytes) {
  CHECK(current_ != nullptr) << "only a simulated thread stores";
  if (current_->stores_.HoldsAnyOf(begin, bytes)) current_->stores_.DrainAll();
}

void World::Wake(Thread* thread, uint64_t delay_ns) {
  if (thread->process_->is_dead_ || thread->has_ended_) return;
  thread->was_woken_ = true;
  if (!thread->is_blocked_) return;
  thread->is_blocked_ = false;
  Cancel(thread);
  Schedule(thread, delay_ns);
}

void World::EndCurrent() {
  current_->fiber_->Suspend();
  LOG(FATAL) << "a dead thread went on";
}

void World::Forget(Thread* thread, bool memory_is_gone) {
  Cancel(thread);
  thread->is_blocked_ = false;
  if (memory_is_gone) thread->stores_.Drop();
}

// ---- The trace.

std::string World::LinePrefix() const {
  if (current_ == nullptr) return absl::StrFormat("%13d - ", now_ns_);
  return absl::StrFormat("%13d %s/%s ", current_->now_ns_, current_->process_->name(),
                         current_->name_);
}

void World::Record(absl::string_view what, uint64_t a, uint64_t b, uint64_t c) {
  trace_.Hash(NowNs());
  for (const char character : what) trace_.Hash(static_cast<unsigned char>(character));
  trace_.Hash(a);
  trace_.Hash(b);
  trace_.Hash(c);
  if (!trace_.keeps_lines()) return;
  trace_.Add(absl::StrCat(LinePrefix(), what, " ", a, " ", b, " ", c));
}

void World::TraceAccess(absl::string_view what, const void* word, uint64_t value) {
  const std::string name = memory_names_.NameOf(word);
  if (name.empty()) return;
  trace_.Add(absl::StrCat(LinePrefix(), what, " ", name, " ", MemoryNames::ValueText(value)));
}

void World::Note(absl::string_view text) {
  if (trace_.keeps_lines()) trace_.Add(absl::StrCat(LinePrefix(), text));
}

}  // namespace acre::sim
