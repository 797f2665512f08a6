#include "bench/lock_world.h"

#include <errno.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bench/lock_process.h"
#include "bench/lock_processes.h"
#include "bench/subprocess.h"
#include "transport/providers/providers.h"

namespace acre::bench {
namespace {

constexpr char kSimulated[] = "sim";

// Beside the file that runs here, which a link may have led to.
std::string SimulatorPath() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  return length > 0 ? absl::StrCat(absl::string_view(path, static_cast<size_t>(length)), "_sim")
                    : "";
}

}  // namespace

absl::Status EnterWorldOf(const std::string& fabric, char** argv) {
  if (fabric != kSimulated) {
    const absl::Status status = transport::JudgeProvider(fabric);
    if (status.ok()) return status;
    return absl::InvalidArgumentError(absl::StrCat(status.message(), ", or sim"));
  }
  const std::string path = SimulatorPath();
  (void)execv(path.c_str(), argv);
  return absl::FailedPreconditionError(
      absl::StrCat("the simulator, ", path, ", cannot be started: ", strerror(errno),
                   "; it is built with config opt: bazel run --config=opt //bench:locks"));
}

absl::Status JudgeLoad(const LockLoadOptions& load) {
  for (const std::string& device : load.devices) {
    if (absl::Status status = transport::JudgeDevice(device, {load.fabric}); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("--devices: ", status.message()));
    }
  }
  if (load.processes > 1 && load.fabric != "shm") {
    return absl::InvalidArgumentError(
        absl::StrCat("--processes=", load.processes,
                     ": processes of a node share memory, which takes --fabric=shm or sim"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LockCluster>> StartLockCluster(
    const LockLoadOptions& load, const std::vector<std::string>& arguments) {
  auto cluster = LockProcesses::Start(load, arguments);
  if (!cluster.ok()) return cluster.status();
  std::cout << "processes:" << (*cluster)->pids() << std::endl;
  return std::unique_ptr<LockCluster>(*std::move(cluster));
}

absl::Status ServeAsProcess(const LockLoadOptions& load, uint32_t number) {
  return ServeLockProcess(load, number, kChildSocket);
}

}  // namespace acre::bench
