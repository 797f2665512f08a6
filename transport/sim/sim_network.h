// SimNetwork: the cards and links between the machines of a World, and what they do wrong.
//
// One for each World. It makes a SimFabric for a process, which then is a node like any other; and it
// takes the orders of a scenario: partitions, healing, slow cards, fewer or more faults. It watches the
// processes of its fabrics: when one dies, its connections break and its memory is no longer served, after
// a delay, as a kernel clears away. When its whole machine crashes, at once, without a word to anyone.
//
// The fault model: docs/simulator.md, section "Fabric".
//
// Ownership:  borrows the World, which outlives it. Owns what outlives processes: memory, the sides of
//             connections, requests under way. Fabrics and all they made go before it, but for those of
//             killed processes, which may leak.
// Threads:    the World's.

#ifndef ACRE_TRANSPORT_SIM_SIM_NETWORK_H_
#define ACRE_TRANSPORT_SIM_SIM_NETWORK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/random.h"
#include "runtime/sim/world.h"
#include "transport/sim/sim_context.h"
#include "transport/sim/sim_event.h"
#include "transport/sim/sim_faults.h"
#include "transport/sim/sim_memory.h"
#include "transport/sim/sim_request.h"
#include "transport/wake_flag.h"

namespace acre::transport {

class SimFabric;
class SimListener;
class SimSide;

// What a scenario may want to know: how often things came to pass.
struct SimCounts {
  uint64_t requests = 0;  // Executed, also by CPUs.
  uint64_t split_atomics = 0;
  uint64_t writes_back = 0;
  uint64_t split_reads = 0;
  uint64_t split_writes = 0;
  uint64_t early_acks = 0;
  uint64_t flushes = 0;  // Of WRITEs that were acknowledged and had not landed.
  uint64_t late_reads = 0;
  uint64_t overtaken_reads = 0;  // By a later WRITE or atomic of the same queue pair.
  uint64_t slow_requests = 0;
  uint64_t lost_connections = 0;
  uint64_t late_executions = 0;
  uint64_t torn_writes = 0;
  uint64_t executed_with_error = 0;  // Reported as failed to their initiator.
  uint64_t rd_atomic_stalls = 0;
  uint64_t receive_stalls = 0;
  uint64_t timeouts = 0;
  uint64_t wakes = 0;
};

// The card of a machine.
struct SimCard {
  sim::Machine* machine = nullptr;
  double slowness = 1;
  uint64_t free_from_ns = 0;  // It is busy until then.
  // Acknowledged WRITEs of others that have not landed here, oldest first.
  IntrusiveList<SimRequest, SimStageTag> acked;
};

class SimNetwork {
 public:
  struct Options {
    absl::optional<SimFaults> faults = absl::nullopt;  // Default: drawn from the World's seed.
  };

  explicit SimNetwork(sim::World* world) : SimNetwork(world, Options()) {}
  SimNetwork(sim::World* world, const Options& options);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  sim::World* world() const { return world_; }
  const SimFaults& faults() const { return faults_; }
  const SimCounts& counts() const { return counts_; }

  // --- For scenarios.

  // From now on. What is under way is not changed.
  void SetFaults(const SimFaults& faults) { faults_ = faults; }
  // Whether packets from one machine reach another. What stays out for long breaks its connection
  // (SimFaults::retry_ns_min); what is let through in time goes on as if nothing had been.
  void SetLink(sim::Machine* from, sim::Machine* to, bool is_open);
  // Both ways.
  void Partition(sim::Machine* one, sim::Machine* other);
  void HealAll();
  // Delays of a machine's card, relative to 1.
  void SetCardSlowness(sim::Machine* machine, double factor);

  // --- For the provider.

  uint64_t NowNs() const { return world_->NowNs(); }
  Random& random() { return random_; }
  SimCounts& counts() { return counts_; }
  bool Draw(double rate) { return rate > 0 && (rate >= 1 || random_.NextDouble() < rate); }
  // Below `ns`; 0 if that is 0.
  uint64_t DrawNs(uint64_t ns) { return ns == 0 ? 0 : random_.Uniform(ns); }
  // Between `ns` and its double, most near to `ns`.
  uint64_t Vary(uint64_t ns);

  void ScheduleAt(sim::Event* event, uint64_t at_ns);
  void Cancel(sim::Event* event);
  // Like World::After, but nothing happens any more once the network has gone. For rare things.
  void After(uint64_t delay_ns, std::function<void()> action);
  // The calling thread is busy for so long; others may come first. No effect outside of threads.
  void Spend(uint64_t ns);
  // Into the hash of the run, and into its text if that is kept.
  void Trace(absl::string_view what, uint64_t a, uint64_t b = 0, uint64_t c = 0);

  SimContext* MakeContext(sim::Process* process);
  SimMemory* MakeMemory(const RegionOptions& options, const SimContext& context);
  // Nobody needs it now, unless it is mapped.
  void ReleaseMemory(SimMemory* memory);
  // For one completion queue; peers look at it as long as they like.
  WakePage* MakeWakePage();
  SimRequest* TakeRequest();
  void GiveRequest(SimRequest* request);
  SimSide* MakeSide(SimContext* context);
  SimCard* card(sim::Machine* machine);
  bool IsOpen(sim::Machine* from, sim::Machine* to) const;
  uint64_t WireNs(sim::Machine* from, sim::Machine* to);

  // Names listeners. 0 is never one.
  uint64_t AddListener(SimListener* listener);
  void RemoveListener(uint64_t number) { listeners_.erase(number); }
  SimListener* FindListener(uint64_t number) const;

 private:
  struct Action;
  struct Freed {
    SimMemory* memory;
    uint64_t from_ns;
  };

  void OnDeath(sim::Process* process);
  void ClearAway(sim::Process* process, bool at_once);
  void FreeMemory();

  sim::World* const world_;
  // Callbacks that the World keeps ask whether we are still there.
  const std::shared_ptr<SimNetwork*> self_ = std::make_shared<SimNetwork*>(this);
  Random random_;
  SimFaults faults_;
  SimCounts counts_;
  std::vector<std::unique_ptr<SimCard>> cards_;
  std::vector<std::pair<sim::Machine*, sim::Machine*>> closed_links_;
  absl::flat_hash_set<sim::Process*> watched_;
  std::map<uint64_t, SimListener*> listeners_;
  uint64_t listeners_count_ = 0;
  std::deque<std::unique_ptr<SimContext>> contexts_;
  std::deque<std::unique_ptr<SimMemory>> memories_;
  std::vector<Freed> to_free_;
  std::deque<std::unique_ptr<WakePage>> wake_pages_;
  std::deque<std::unique_ptr<SimRequest>> requests_;
  std::vector<SimRequest*> free_requests_;
  std::deque<std::unique_ptr<SimSide>> sides_;
  absl::flat_hash_map<Action*, std::unique_ptr<Action>> actions_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_NETWORK_H_
