#include "bench/transactions/server_processes.h"

#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace acre::bench {
namespace {

constexpr uint32_t kFirstPort = 7400;

}  // namespace

std::string OwnHost() {
  const int pid = getpid();
  return absl::StrCat("127.", 192 + (pid >> 16 & 31), ".", pid >> 8 & 255, ".", pid & 255);
}

absl::StatusOr<std::unique_ptr<ServerProcesses>> ServerProcesses::Start(
    const ServerProcessesOptions& options) {
  const absl::StatusOr<std::string> program = FindProgram("server/kv_server");
  if (!program.ok()) return program.status();
  auto folder = ScratchFolder::Create();
  if (!folder.ok()) return folder.status();
  auto processes = absl::WrapUnique(new ServerProcesses);
  processes->folder_ = *std::move(folder);
  const std::string& path = processes->folder_->path();
  for (uint32_t i = 0; i < options.count; ++i) {
    processes->addresses_.push_back(absl::StrCat(OwnHost(), ":", kFirstPort + i));
  }
  const std::string cluster = absl::StrCat(path, "/cluster.txt");
  std::ofstream(cluster) << absl::StrJoin(processes->addresses_, "\n") << "\n";
  for (uint32_t i = 0; i < options.count; ++i) {
    std::vector<std::string> command = {*program,
                                        absl::StrCat("--listen=", processes->addresses_[i]),
                                        absl::StrCat("--fabric=", options.fabric),
                                        absl::StrCat("--poll=", options.poll),
                                        absl::StrCat("--threads=", options.threads),
                                        absl::StrCat("--cpus=", options.cpus),
                                        absl::StrCat("--memory=", options.memory_bytes >> 20, "M"),
                                        absl::StrCat("--index_percent=", options.index_percent),
                                        absl::StrCat("--state_dir=", path)};
    if (options.count > 1) command.push_back(absl::StrCat("--cluster=", cluster));
    auto server = Program::Start(std::move(command), absl::StrCat(path, "/server", i, ".log"));
    if (!server.ok()) return server.status();
    processes->servers_.push_back(*std::move(server));
  }
  for (const auto& server : processes->servers_) {
    const absl::StatusOr<std::string> line = server->WaitForLine("listening on ");
    if (!line.ok()) return line.status();
  }
  return processes;
}

std::vector<pid_t> ServerProcesses::pids() const {
  std::vector<pid_t> pids;
  for (const auto& server : servers_) pids.push_back(server->pid());
  return pids;
}

absl::Status ServerProcesses::CheckAlive() {
  for (const auto& server : servers_) {
    if (absl::Status status = server->CheckAlive(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace acre::bench
