// Cluster: the World of one run: its machines, the server and its successors, the clients and theirs, and
// what all of them leave behind for the judges.
//
// Threads:   the World's.
// Ownership: owns all but what killed processes had: that leaks, as their stacks do.

#ifndef ACRE_TESTS_SIM_CLUSTER_H_
#define ACRE_TESTS_SIM_CLUSTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/sim/world.h"
#include "tests/checkers/recorder.h"
#include "tests/checkers/table_invariants.h"
#include "tests/checkers/version_watcher.h"
#include "tests/sim/door.h"
#include "tests/sim/plan.h"
#include "transport/sim/sim_network.h"

namespace acre::simulation {

class ClientProcess;
class ServerProcess;

enum class Phase : uint8_t {
  kFaults,    // Clients work while things go wrong.
  kProgress,  // Nothing goes wrong any more: each coroutine of each client must get some work done.
  kQuiet,     // Clients stop.
};

// Who finds something.
enum class Judge : uint8_t { kLinearizability, kVersions, kTable, kLiveness, kErrors };
absl::string_view JudgeName(Judge judge);

class Cluster {
 public:
  struct Options {
    uint64_t seed = 0;
    size_t trace_lines_max = 0;
    bool trace_accesses = false;
  };
  explicit Cluster(const Options& options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  const Plan& plan() const { return plan_; }
  Random& random() { return random_; }  // Of the scenario.
  sim::World* world() { return &world_; }
  transport::SimNetwork* network() { return &network_; }
  Door* door() { return &door_; }
  sim::Machine* machine(int index) { return machines_[static_cast<size_t>(index)]; }
  sim::Machine* server_machine() { return machines_[0]; }
  Phase phase() const { return phase_; }
  void SetPhase(Phase phase) { phase_ = phase; }

  // --- Processes. What died, or stopped, starts again after a while, as soon as its machine runs.

  // The server and all clients.
  void Start();
  // Null: none, it died, or it has stopped.
  sim::Process* server_process() const { return server_process_; }
  // Null until it has made its table, and again from its death or stop on.
  ServerProcess* server() const { return server_; }
  // Of the places that Plan::clients has. Null as above.
  sim::Process* client_process(size_t slot) const { return slots_[slot].process; }
  void KillServer(uint64_t down_ns);
  // Cleanly, as after SIGTERM.
  void StopServer(uint64_t down_ns);
  void KillClient(size_t slot, uint64_t down_ns);
  void CrashMachine(int index, uint64_t down_ns);
  // Everything is whole and runs, or will soon.
  void HealAll();
  // Never, before.
  uint64_t healed_at_ns() const { return healed_at_ns_; }

  // All clients' coroutines have made their progress. / All clients have ended.
  bool HaveAllProgressed() const;
  bool HaveAllEnded() const;
  // Who has done what, for people.
  std::string ToText() const;
  // No client is connected.
  bool IsServerAlone() const;

  // After the clients: Gets every key until it was answered.
  void StartReader();
  bool is_reader_done() const { return model_is_complete_; }

  // --- For processes.

  void OnServerReady(ServerProcess* server);
  void OnServerOpen();
  // It stops cleanly: its table goes now, and then all the rest has gone.
  void OnServerStopping();
  void OnServerStopped();
  // How long a server that starts must wait before it listens: what its state file says.
  uint64_t lease_to_wait_out_ns() const { return state_lease_ns_; }
  void AddToModel(const std::string& key, const std::string& value) { model_[key] = value; }
  void OnReaderDone() { model_is_complete_ = true; }
  void CountOperation(bool is_answered) {
    ++operations_;
    if (is_answered) ++answered_;
  }
  uint64_t operations() const { return operations_; }
  uint64_t answered() const { return answered_; }

  // What happened how often, for people and for the tests of this.
  const std::map<std::string, uint64_t>& counts() const { return counts_; }
  void Count(const std::string& what, uint64_t more = 1) { counts_[what] += more; }

  // --- Findings.

  // Something that must not be. The first one counts.
  void Report(Judge judge, absl::string_view what);
  const std::string& finding() const { return finding_; }
  // Of the finding. Requires: there is one.
  Judge judge() const { return judge_; }
  checkers::Recorder* recorder() { return &recorder_; }
  // Once in a while, from faults to quiet.
  void ScanVersions();
  // The table that there is, judged by the model. At the very end.
  void CheckFinalTable();

 private:
  struct Slot {
    Plan::Client plan;
    sim::Process* process = nullptr;  // Null: to be started.
    ClientProcess* client = nullptr;
  };

  bool HasLease() const;
  void CountTable();
  void StartServer();
  void StartServerAt(uint64_t at_ns);
  void OnServerDeath(sim::Process* process);
  void StartClient(size_t slot);
  void OnClientDeath(size_t slot, sim::Process* process);
  ClientProcess* MakeClient(const Plan::Client& plan, sim::Process* process, bool reads_all);
  void AddCut(uint64_t at_ns);

  Random random_;
  const Plan plan_;
  sim::World world_;
  transport::SimNetwork network_;
  Door door_;
  std::vector<sim::Machine*> machines_;
  Phase phase_ = Phase::kFaults;
  uint64_t healed_at_ns_ = UINT64_MAX / 2;

  sim::Process* server_process_ = nullptr;
  ServerProcess* server_ = nullptr;
  uint64_t generations_ = 0;
  uint64_t server_from_ns_ = 0;  // It does not start before.
  uint64_t down_after_stop_ns_ = 0;
  uint64_t state_lease_ns_ = 0;  // The state file's: of a server that has not stopped cleanly.
  bool cut_is_due_ = false;      // At the latest when the next server opens.
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<ClientProcess>> clients_;

  checkers::Recorder recorder_;
  std::vector<std::unique_ptr<checkers::VersionWatcher>> watchers_;  // Of the server's segments.
  checkers::Model model_;
  bool model_is_complete_ = false;
  uint64_t operations_ = 0;
  uint64_t answered_ = 0;
  std::map<std::string, uint64_t> counts_;
  std::string finding_;
  Judge judge_ = Judge::kErrors;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_CLUSTER_H_
