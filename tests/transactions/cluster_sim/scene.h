// Scene: the World of one run: homes and coordinators on simulated machines, what goes wrong with them, what coordinators
// were told, and the judgement.
//
// Threads:   the World's.
// Ownership: owns all but what killed processes had: that leaks, as their stacks do.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_SCENE_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_SCENE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/transaction_id.h"
#include "runtime/random.h"
#include "runtime/sim/world.h"
#include "tests/checkers/table_invariants.h"
#include "tests/sim/connector.h"
#include "tests/sim/door.h"
#include "tests/transactions/cluster_sim/plan.h"
#include "tests/transactions/cluster_sim/told.h"
#include "transport/sim/sim_network.h"

namespace acre::cluster_sim {

class CoordinatorProcess;
class HomeProcess;

enum class Phase : uint8_t {
  kFaults,    // Coordinators work while things go wrong.
  kProgress,  // Nothing goes wrong any more: each coroutine gets some transactions committed.
  kQuiet,     // Coordinators stop.
};

// Who finds something.
enum class Judge : uint8_t { kHistory, kAtomicity, kTable, kLiveness, kAgreement, kErrors };
absl::string_view JudgeName(Judge judge);

struct RunResult {
  std::string finding;  // Empty: all is well.
  std::string judge;
  std::string plan;
  uint64_t committed = 0;
  uint64_t told = 0;  // Transactions, attempts counted one by one.
  uint64_t virtual_ns = 0;
  uint64_t trace_hash = 0;
  std::string trace_text;
  std::map<std::string, uint64_t> counts;

  bool ok() const { return finding.empty(); }
};

class Scene {
 public:
  Scene(uint64_t seed, size_t trace_lines_max);
  // To be driven by who makes it: nothing goes wrong but what he does. Slots stay empty.
  Scene(uint64_t seed, const ClusterPlan& plan, size_t trace_lines_max);
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  // Once.
  RunResult Run();

  // ---- For who drives it. False: something was found.

  bool OpenHomes();
  // Also that it took too long is a finding.
  bool RunUntil(const std::function<bool()>& done, uint64_t ns_max, absl::string_view what);
  // No lock is held any more, nor a hold.
  bool IsAllOver() const;
  // All keys are read once more; nothing is left open.
  bool ReadLast();
  // Judges all that was told, unless something was found before.
  RunResult Judged();

  // ---- For processes and faults.

  const ClusterPlan& plan() const { return plan_; }
  Random& random() { return random_; }
  sim::World* world() { return &world_; }
  transport::SimNetwork* network() { return &network_; }
  simulation::Door* door(size_t home) { return homes_[home].door.get(); }
  sim::Machine* home_machine(size_t home) { return homes_[home].machine; }
  sim::Machine* coordinator_machine(size_t slot) { return slots_[slot].machine; }
  simulation::Connector::Options ConnectorOptions(size_t home, Path path,
                                                  uint32_t first_region_id) const;
  Phase phase() const { return phase_; }
  Told* told() { return &told_; }
  void OnHomeOpen(size_t index, HomeProcess* home);
  // Whether it is time for operators to end what homes cannot.
  bool is_operator_due() const { return is_operator_due_; }
  // Whether the memory of one of them is gone.
  bool NamesLostHome(absl::Span<const kvs::TransactionParticipant> participants) const;
  // A key's last value.
  void AddLast(uint32_t key, const std::string& value);

  // ---- For faults. No effect on what is not there.

  HomeProcess* home(size_t index) { return homes_[index].home; }
  sim::Process* home_process(size_t index) { return homes_[index].process; }
  sim::Process* coordinator(size_t slot) { return slots_[slot].process; }
  void KillHome(size_t index, uint64_t down_ns);
  void KillCoordinator(size_t slot, uint64_t down_ns);

  // The first one counts.
  void Report(Judge judge, absl::string_view what);
  void CountEvent(const std::string& what, uint64_t more = 1) { counts_[what] += more; }

 private:
  struct Home {
    sim::Machine* machine = nullptr;
    std::unique_ptr<simulation::Door> door;
    sim::Process* process = nullptr;  // Null: to be started.
    HomeProcess* home = nullptr;      // Null until it is open.
    uint64_t generation = 0;
    bool was_lost = false;
  };
  struct Slot {
    sim::Machine* machine = nullptr;
    sim::Process* process = nullptr;
    CoordinatorProcess* coordinator = nullptr;
  };

  Scene(uint64_t seed, size_t trace_lines_max, absl::optional<ClusterPlan> plan);
  void StartHome(size_t index);
  void StartCoordinator(size_t slot);
  CoordinatorProcess* MakeCoordinator(sim::Process* process, bool reads_all);
  void HealAll();
  bool RunFor(uint64_t ns);
  void Phases();
  bool EndAll();
  void JudgeAll();
  void JudgeTables();
  void JudgeHistory();
  bool AreHomesOpen() const;
  bool HaveAllEnded() const;
  std::string ToText() const;
  std::vector<bool> LostHomes() const;

  Random random_;
  const ClusterPlan plan_;
  sim::World world_;
  transport::SimNetwork network_;
  std::vector<Home> homes_;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<CoordinatorProcess>> coordinators_;
  Phase phase_ = Phase::kFaults;
  bool is_operator_due_ = false;
  Told told_;
  std::vector<checkers::Model> models_;     // By home.
  std::vector<std::vector<int64_t>> last_;  // Lists in the end, by key.
  std::map<std::string, uint64_t> counts_;
  std::string finding_;
  Judge judge_ = Judge::kErrors;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_SCENE_H_
