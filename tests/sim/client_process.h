// ClientProcess: a client as a simulated process: the product's FabricBackend over a link made at the Door,
// made anew when it breaks, and coroutines that work with it and write down what they saw.
//
// Threads:   its process's one, but for what judges ask between the World's steps.
// Ownership: the cluster's. What its thread has on its stack leaks when it is killed.

#ifndef ACRE_TESTS_SIM_CLIENT_PROCESS_H_
#define ACRE_TESTS_SIM_CLIENT_PROCESS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/sim/world.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "tests/checkers/recorder.h"
#include "tests/sim/plan.h"

namespace acre::simulation {

class Cluster;
class Connector;

class ClientProcess {
 public:
  enum class Purpose : uint8_t { kWork, kReadAll };

  // `number`: never the same twice; values carry it.
  ClientProcess(Cluster* cluster, sim::Process* process, const Plan::Client& plan, Purpose purpose,
                uint32_t number, checkers::ClientLog* log);

  // The body of its thread.
  void Run();

  bool has_progressed() const { return progressed_ == plan_.coroutines; }
  bool has_ended() const { return has_ended_; }
  // What it does now, for people.
  std::string ToText() const;

 private:
  // Results of one operation: whether it was answered.
  Task<bool> Operate();
  Task<bool> Get(const std::string* key, uint64_t timeout_ns);
  Task<bool> Put(const std::string* key, uint64_t timeout_ns);
  Task<bool> Delete(const std::string* key, uint64_t timeout_ns);
  Task<bool> MultiGet(uint64_t timeout_ns);
  Task<bool> Wave();
  Task<void> Work(Event* all_ended);
  Task<void> WorkAmidFaults();
  Task<void> ReadAll();
  Task<void> RunAll();

  const std::string& DrawKey();
  std::string NewValue(size_t key_bytes);
  uint64_t DrawTimeout();
  void EndGet(size_t operation, const absl::Status& status, const std::string& value);
  bool EndChange(size_t operation, const absl::Status& status);
  // An error that is no answer: is it one that may come now?
  void EndUnanswered(absl::string_view what, const absl::Status& status);
  uint64_t Now() const;

  Cluster* const cluster_;
  sim::Process* const process_;
  const Plan::Client plan_;
  const Purpose purpose_;
  const uint32_t number_;
  checkers::ClientLog* const log_;
  Random random_;
  Scheduler* scheduler_ = nullptr;  // Of Run().
  Connector* connector_ = nullptr;  // Likewise.
  uint64_t values_written_ = 0;
  uint64_t operations_left_ = 0;
  int ended_ = 0;  // Coroutines.
  int progressed_ = 0;
  bool has_ended_ = false;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_CLIENT_PROCESS_H_
