// CoordinatorProcess: a client as a simulated process: the product's Coordinator over the product's connections, made
// anew when they break, and coroutines that run transactions side by side and write down what they were told.
//
// Threads:   its process's one, but for what judges ask between the World's steps.
// Ownership: the scene's. What its thread has on its stack leaks when it is killed.

#ifndef ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_COORDINATOR_PROCESS_H_
#define ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_COORDINATOR_PROCESS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/isolation/history.h"
#include "kvs/coordinator.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::cluster_sim {

class Scene;

class CoordinatorProcess {
 public:
  enum class Purpose : uint8_t {
    kWork,
    kReadAll,  // One transaction that reads all keys, until it has committed.
  };
  CoordinatorProcess(Scene* scene, sim::Process* process, Purpose purpose);

  // The body of its thread.
  void Run();

  // All coroutines have committed some transactions since the faults stopped.
  bool has_progressed() const { return progressed_ == coroutines_; }
  bool has_ended() const { return has_ended_; }
  std::string ToText() const;

 private:
  // What a transaction does with one key.
  struct Step {
    uint32_t key = 0;
    bool reads = false;
    bool writes = false;  // A list: appends.
    bool deletes = false;
  };
  // One transaction of the workload, and what is told of its attempts.
  struct Script {
    int64_t process = 0;
    std::vector<Step> steps;
    bool reads_at_once = false;  // By one MultiGet.
    bool reads_own = false;
    uint64_t think_ns = 0;                   // Between reads and writes.
    isolation::Transaction* told = nullptr;  // The attempt under way.
    absl::Status said;                       // By the last run of the function.
  };

  Task<void> RunAll();
  Task<void> Work(Event* all_ended);
  Task<void> ReadAll();
  // Whether it committed.
  Task<bool> OneTransaction(int64_t* process);
  Task<absl::Status> Function(kvs::Transaction* transaction, Script* script);
  Task<absl::Status> ReadSteps(kvs::Transaction* transaction, Script* script,
                               std::vector<std::string>* values);
  absl::Status WriteStep(kvs::Transaction* transaction, Script* script, const Step& step,
                         const std::string& value);
  Task<absl::Status> Get(kvs::Transaction* transaction, Script* script, uint32_t key,
                         std::string* value);
  void TellRead(Script* script, uint32_t key, const absl::Status& status, const std::string& value);
  Script DrawScript(int64_t process);
  // The attempt under way ends, if there is one.
  void EndTold(Script* script, isolation::Outcome outcome);
  void Judge(const absl::Status& status);
  uint64_t Now() const;

  Scene* const scene_;
  sim::Process* const process_;
  const Purpose purpose_;
  const int coroutines_;
  Random random_;
  Scheduler* scheduler_ = nullptr;           // Of Run().
  kvs::Coordinator* coordinator_ = nullptr;  // Likewise.
  int ended_ = 0;                            // Coroutines.
  int progressed_ = 0;
  bool has_ended_ = false;
  std::string last_status_;
};

}  // namespace acre::cluster_sim

#endif  // ACRE_TESTS_TRANSACTIONS_CLUSTER_SIM_COORDINATOR_PROCESS_H_
