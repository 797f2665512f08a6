#include "transport/sim/sim_network.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_listener.h"
#include "transport/sim/sim_side.h"

namespace acre::transport {
namespace {

// Memory that nobody knows any more is kept for so long: stores to it may wait in a store buffer.
constexpr uint64_t kFreeAfterNs = 100'000'000;

}  // namespace

// What After() runs, once.
struct SimNetwork::Action final : public sim::Event {
  SimNetwork* network = nullptr;
  std::function<void()> function;

  void Run() override {
    const auto found = network->actions_.find(this);
    const std::unique_ptr<Action> self = std::move(found->second);
    network->actions_.erase(found);
    self->function();
  }
};

SimNetwork::SimNetwork(sim::World* world, const Options& options)
    : world_(world), random_(world->random().Next()) {
  faults_ = options.faults.has_value() ? *options.faults : SimFaults::Draw(&random_);
}

SimNetwork::~SimNetwork() {
  for (const auto& action : actions_) world_->Cancel(action.second.get());
  for (const std::unique_ptr<SimRequest>& request : requests_) {
    world_->Cancel(&request->execute_);
    world_->Cancel(&request->respond_);
    request->SimRequest::Stage::Unlink();
    request->SimRequest::Outstanding::Unlink();
  }
  for (const std::unique_ptr<SimSide>& side : sides_) side->Forget();
}

// ---- For scenarios.

void SimNetwork::SetLink(sim::Machine* from, sim::Machine* to, bool is_open) {
  const std::pair<sim::Machine*, sim::Machine*> link(from, to);
  if (is_open) {
    std::erase(closed_links_, link);
  } else if (IsOpen(from, to)) {
    closed_links_.push_back(link);
  }
  for (const std::unique_ptr<SimSide>& side : sides_) side->OnLinks();
}

void SimNetwork::Partition(sim::Machine* one, sim::Machine* other) {
  SetLink(one, other, false);
  SetLink(other, one, false);
}

void SimNetwork::HealAll() {
  closed_links_.clear();
  for (const std::unique_ptr<SimSide>& side : sides_) side->OnLinks();
}

void SimNetwork::SetCardSlowness(sim::Machine* machine, double factor) {
  CHECK_GT(factor, 0.0);
  card(machine)->slowness = factor;
}

// ---- Time, chance, the trace.

uint64_t SimNetwork::Vary(uint64_t ns) {
  // The smaller of two numbers: mostly little.
  const uint64_t span = ns + 1;
  return ns + std::min(random_.Uniform(span), random_.Uniform(span));
}

uint64_t SimNetwork::WireNs(sim::Machine* from, sim::Machine* to) {
  const double slowness = std::max(card(from)->slowness, card(to)->slowness);
  return static_cast<uint64_t>(static_cast<double>(Vary(from == to ? kLoopbackNs : kWireNs)) *
                               slowness);
}

void SimNetwork::ScheduleAt(sim::Event* event, uint64_t at_ns) { world_->ScheduleAt(event, at_ns); }

void SimNetwork::Cancel(sim::Event* event) { world_->Cancel(event); }

void SimNetwork::After(uint64_t delay_ns, std::function<void()> action) {
  auto made = std::make_unique<Action>();
  made->network = this;
  made->function = std::move(action);
  Action* const event = made.get();
  actions_[event] = std::move(made);
  world_->Schedule(event, delay_ns);
}

void SimNetwork::Spend(uint64_t ns) {
  if (world_->current_thread() != nullptr) world_->Spend(ns);
}

void SimNetwork::Trace(absl::string_view what, uint64_t a, uint64_t b, uint64_t c) {
  world_->Record(what, a, b, c);
}

// ---- What outlives processes.

SimContext* SimNetwork::MakeContext(sim::Process* process) {
  if (watched_.insert(process).second) {
    process->OnDeath([weak = std::weak_ptr<SimNetwork*>(self_), process] {
      if (const auto self = weak.lock()) (*self)->OnDeath(process);
    });
  }
  contexts_.push_back(std::make_unique<SimContext>());
  contexts_.back()->network = this;
  contexts_.back()->process = process;
  return contexts_.back().get();
}

SimMemory* SimNetwork::MakeMemory(const RegionOptions& options, const SimContext& context) {
  FreeMemory();
  memories_.push_back(std::make_unique<SimMemory>(options, context));
  world_->AddLines(memories_.back()->words(), options.size_bytes);
  return memories_.back().get();
}

void SimNetwork::ReleaseMemory(SimMemory* memory) {
  if (!memory->is_needed()) to_free_.push_back({memory, NowNs() + kFreeAfterNs});
}

void SimNetwork::FreeMemory() {
  const uint64_t now_ns = NowNs();
  std::erase_if(to_free_, [now_ns](const Freed& freed) {
    if (freed.from_ns > now_ns) return false;
    freed.memory->Free();
    return true;
  });
}

WakePage* SimNetwork::MakeWakePage() {
  wake_pages_.push_back(std::make_unique<WakePage>());
  return wake_pages_.back().get();
}

SimRequest* SimNetwork::TakeRequest() {
  if (free_requests_.empty()) {
    requests_.push_back(std::make_unique<SimRequest>());
    return requests_.back().get();
  }
  SimRequest* const request = free_requests_.back();
  free_requests_.pop_back();
  return request;
}

void SimNetwork::GiveRequest(SimRequest* request) {
  request->memory = nullptr;
  request->status = CompletionStatus::kOk;
  request->is_captured = false;
  request->is_executing = false;
  request->is_executed = false;
  request->is_acknowledged = false;
  request->is_landing = false;
  request->is_answered = false;
  request->is_answer_lost = false;
  request->never_answers = false;
  free_requests_.push_back(request);
}

SimSide* SimNetwork::MakeSide(SimContext* context) {
  sides_.push_back(std::make_unique<SimSide>(context, sides_.size() + 1));
  return sides_.back().get();
}

SimCard* SimNetwork::card(sim::Machine* machine) {
  for (const std::unique_ptr<SimCard>& card : cards_) {
    if (card->machine == machine) return card.get();
  }
  cards_.push_back(std::make_unique<SimCard>());
  cards_.back()->machine = machine;
  return cards_.back().get();
}

bool SimNetwork::IsOpen(sim::Machine* from, sim::Machine* to) const {
  if (closed_links_.empty() || from == to) return true;
  const std::pair<sim::Machine*, sim::Machine*> link(from, to);
  return std::find(closed_links_.begin(), closed_links_.end(), link) == closed_links_.end();
}

uint64_t SimNetwork::AddListener(SimListener* listener) {
  listeners_[++listeners_count_] = listener;
  return listeners_count_;
}

SimListener* SimNetwork::FindListener(uint64_t number) const {
  const auto found = listeners_.find(number);
  return found == listeners_.end() ? nullptr : found->second;
}

// ---- Death.

void SimNetwork::OnDeath(sim::Process* process) {
  // The kernel marks what the dead owned before it closes anything of theirs (docs/leases.md).
  for (const std::unique_ptr<SimMemory>& memory : memories_) {
    if (memory->owner() == process) memory->MarkDeath();
  }
  if (process->machine()->is_crashed()) return ClearAway(process, /*at_once=*/true);
  After(DrawNs(faults_.teardown_ns_max),
        [this, process] { ClearAway(process, /*at_once=*/process->machine()->is_crashed()); });
}

void SimNetwork::ClearAway(sim::Process* process, bool at_once) {
  Trace("clear-away", process->id());
  for (const std::unique_ptr<SimSide>& side : sides_) {
    if (side->context()->process == process) side->Die(at_once);
  }
  for (const std::unique_ptr<SimMemory>& memory : memories_) {
    if (memory->owner() == process) memory->Close();
  }
  std::erase_if(listeners_, [process, at_once](const auto& entry) {
    if (entry.second->context()->process != process) return false;
    entry.second->Drop(/*tells_clients=*/!at_once);
    return true;
  });
}

}  // namespace acre::transport
