// StepScene: one coordinator's transactions, step by step: a script that goes all ways of a commit, and something that
// happens to the coordinator at one of its steps. Run with each step in turn that is every moment at which it could happen.
//
// The script, on two or three homes, without any other fault: two keys of one home, by one call; two keys of two homes, with a
// read to validate, which is refused at first, and so runs again under a hold; the same again, whose requests truncate what
// was before. Beside it, under the same name, transactions of two other keys.
//
// A step (sim::Process::WatchSteps) is each thing that somebody else may see of it: finer than every await.
//
// Threads:   the World's.
// Ownership: owns its scene. Leaks as that does.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_STEP_SCENE_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_STEP_SCENE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "client/isolation/history.h"
#include "kvs/transaction.h"
#include "kvs/transaction_id.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "tests/transactions/cluster_sim/scene.h"
#include "tests/transactions/cluster_sim/simulated_client.h"
#include "transport/sim/sim_context.h"

namespace acre::cluster_sim {

// What happens to the coordinator at its step.
enum class Harm : uint8_t {
  kKill,
  kGiveUp,  // The second home gives it up. It lives on.
};

struct StepOptions {
  transport::SimDevice device = transport::SimDevice::kCard;
  bool is_mapped = false;
  size_t homes = 2;
  Harm harm = Harm::kKill;
  uint64_t step = 0;  // From 1 on. 0, or beyond the last: nothing happens.
  size_t trace_lines_max = 0;
};

class StepScene {
 public:
  explicit StepScene(const StepOptions& options);
  StepScene(const StepScene&) = delete;
  StepScene& operator=(const StepScene&) = delete;

  // Once. Judged, besides what Scene judges: that another coordinator gets on with the same keys soon, and that nothing
  // that comes under the old one's names is taken any more.
  RunResult Run();
  // That there were.
  uint64_t steps() const { return steps_; }

 private:
  using Keys = std::vector<uint32_t>;

  uint32_t KeyOf(size_t home, size_t list) const;
  sim::Process* Start(const char* name, void (StepScene::*body)(sim::Process*), size_t machine);
  void OnStep();
  // Each the body of a process.
  void RunVictim(sim::Process* process);
  void RunSuccessor(sim::Process* process);
  void RunReplayer(sim::Process* process);
  Task<void> Script(SimulatedClient* client);
  Task<void> Beside(SimulatedClient* client, Event* ended);
  Task<void> Succeed(SimulatedClient* client);
  Task<void> Replay(SimulatedClient* client);
  Task<void> ReplayAt(SimulatedClient* client, size_t home, kvs::TransactionThread thread);
  // Transactions, all of which is told. Of Append(): whether it committed.
  Task<bool> Append(SimulatedClient* client, Keys written, Keys read);
  Task<void> RunRefusedOnce(SimulatedClient* client, Keys written, Keys read);
  Task<absl::Status> ReadAndAppend(kvs::Transaction* transaction, isolation::Transaction* told,
                                   absl::Span<const uint32_t> written,
                                   absl::Span<const uint32_t> read, SimulatedClient* rival);
  void End(isolation::Transaction* told, const absl::Status& status, bool is_unknown);

  const StepOptions options_;
  Scene scene_;
  sim::Process* victim_ = nullptr;
  std::vector<uint32_t> numbers_;  // Of the victim's names.
  uint64_t steps_ = 0;
  bool victim_has_ended_ = false;
  bool successor_has_ended_ = false;
  bool replayer_has_ended_ = false;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_STEP_SCENE_H_
