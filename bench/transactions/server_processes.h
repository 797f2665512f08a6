// ServerProcesses: kv_servers on this machine that a benchmark starts for itself, a cluster if there are several.
//
// Ownership: they end with the object.
// Threads:   as bench/transactions/program.h.

#ifndef ACRE_BENCH_TRANSACTIONS_SERVER_PROCESSES_H_
#define ACRE_BENCH_TRANSACTIONS_SERVER_PROCESSES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/transactions/program.h"

namespace acre::bench {

// Of 127.0.0.0/8, all of which is this machine: a host that nobody else on it takes, made of this process's id. So
// programs that must know their ports beforehand can have any.
std::string OwnHost();

struct ServerProcessesOptions {
  uint32_t count = 1;
  std::string fabric = "shm";  // kv_server --fabric.
  std::string poll = "adaptive";
  uint32_t threads = 1;       // Of each.
  std::string cpus;           // Of all: kv_server --cpus.
  uint64_t memory_bytes = 0;  // Of each.
  int index_percent = 86;     // Small records lie in the index.
};

class ServerProcesses {
 public:
  // Errors: NotFound - kv_server is not built; what keeps one from starting, with what it said.
  static absl::StatusOr<std::unique_ptr<ServerProcesses>> Start(
      const ServerProcessesOptions& options);

  // HOST:PORT, in the order of their numbers.
  const std::vector<std::string>& addresses() const { return addresses_; }
  std::vector<pid_t> pids() const;
  // Unavailable: one has ended.
  absl::Status CheckAlive();

 private:
  ServerProcesses() = default;

  std::unique_ptr<ScratchFolder> folder_;  // Outlives the servers.
  std::vector<std::string> addresses_;
  std::vector<std::unique_ptr<Program>> servers_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_SERVER_PROCESSES_H_
