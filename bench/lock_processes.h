// LockProcesses: the cluster of real processes, which this one starts and drives (lock_process.h).

#ifndef ACRE_BENCH_LOCK_PROCESSES_H_
#define ACRE_BENCH_LOCK_PROCESSES_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "bench/lock_cluster.h"
#include "bench/lock_load.h"
#include "bench/subprocess.h"

namespace acre::bench {

// Ownership: owns the processes. They are killed where it goes without Finish(): some may wait for others for ever.
class LockProcesses final : public LockCluster {
 public:
  // Starts and connects them: this program with `arguments` and --process_index=NUMBER, which call ServeLockProcess()
  // with the same load. Errors: as Run(), and the kernel's.
  static absl::StatusOr<std::unique_ptr<LockProcesses>> Start(
      const LockLoadOptions& load, const std::vector<std::string>& arguments);

  // Each with a blank before it.
  std::string pids() const;

  absl::StatusOr<std::vector<LockTotal>> Run(const LockTask& task, uint64_t run_ns) override;
  absl::StatusOr<LockCounts> Count() override;
  absl::Status Finish() override;

 private:
  using Answers = std::vector<std::string>;  // By process.

  explicit LockProcesses(const LockLoadOptions& load) : load_(load) {}

  absl::Status Connect();
  // The same for all processes; what they answer behind `word`. One that is gone does not leave us waiting for others
  // that wait for it.
  absl::StatusOr<Answers> Ask(const std::string& message, absl::string_view word);
  absl::Status Gone(size_t i);
  // Process `i` told `status`. If another one has died, that is why.
  absl::Status CauseOf(const absl::Status& status, size_t i);

  const LockLoadOptions load_;
  std::vector<std::unique_ptr<Subprocess>> processes_;  // By number.
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_PROCESSES_H_
