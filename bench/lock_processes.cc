#include "bench/lock_processes.h"

#include <poll.h>

#include <algorithm>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace acre::bench {
namespace {

// From the command to the begin of a slice: by then the threads of all processes are there.
constexpr uint64_t kStartNs = 10'000'000;
// How long an error of one process waits for the death of another, which may be its cause.
constexpr int kCauseMs = 100;

}  // namespace

absl::StatusOr<std::unique_ptr<LockProcesses>> LockProcesses::Start(
    const LockLoadOptions& load, const std::vector<std::string>& arguments) {
  auto cluster = absl::WrapUnique(new LockProcesses(load));
  for (uint32_t i = 0; i < load.processes_count(); ++i) {
    std::vector<std::string> words = arguments;
    words.push_back(absl::StrCat("--process_index=", i));
    auto process = Subprocess::Start(words);
    if (!process.ok()) return process.status();
    cluster->processes_.push_back(*std::move(process));
  }
  const absl::Status connected = cluster->Connect();
  if (!connected.ok()) return connected;
  return cluster;
}

absl::Status LockProcesses::Connect() {
  const absl::StatusOr<Answers> endpoints = Ask("open", "opened");
  if (!endpoints.ok()) return endpoints.status();
  const absl::Status connected =
      Ask(absl::StrCat("connect\n", absl::StrJoin(*endpoints, "\n")), "connected").status();
  if (!connected.ok()) return connected;
  const absl::StatusOr<Answers> keys = Ask("keys", "keys");
  if (!keys.ok()) return keys.status();
  return Ask(absl::StrCat("attach\n", absl::StrJoin(*keys, "\n")), "attached").status();
}

std::string LockProcesses::pids() const {
  std::string pids;
  for (const auto& process : processes_) absl::StrAppend(&pids, " ", process->pid());
  return pids;
}

absl::StatusOr<LockProcesses::Answers> LockProcesses::Ask(const std::string& message,
                                                          absl::string_view word) {
  for (size_t i = 0; i < processes_.size(); ++i) {
    if (!SendMessage(processes_[i]->socket(), message).ok()) return Gone(i);
  }
  Answers answers(processes_.size());
  std::vector<pollfd> awaited;
  for (const auto& process : processes_) {
    awaited.push_back({.fd = process->socket(), .events = POLLIN, .revents = 0});
  }
  for (size_t count = 0; count < processes_.size();) {
    // Interrupted: nothing is ready.
    if (poll(awaited.data(), awaited.size(), /*timeout=*/-1) < 0) continue;
    for (size_t i = 0; i < awaited.size(); ++i) {
      if (awaited[i].fd < 0 || awaited[i].revents == 0) continue;
      const absl::StatusOr<std::string> answer = ReceiveMessage(awaited[i].fd);
      if (absl::IsUnavailable(answer.status())) return Gone(i);
      if (!answer.ok()) return answer.status();
      absl::StatusOr<std::string> rest = ParseAnswer(word, *answer);
      if (!rest.ok()) return CauseOf(rest.status(), i);
      answers[i] = *std::move(rest);
      awaited[i].fd = -1;
      ++count;
    }
  }
  return answers;
}

absl::Status LockProcesses::Gone(size_t i) {
  const absl::Status how = processes_[i]->Finish();
  return absl::UnavailableError(absl::StrCat(
      "process ", i + 1, " of ", processes_.size(),
      ", a node's, is gone: ", how.ok() ? absl::string_view("it has left early") : how.message()));
}

absl::Status LockProcesses::CauseOf(const absl::Status& status, size_t i) {
  for (size_t other = 0; other < processes_.size(); ++other) {
    if (other == i || !CanReceive(processes_[other]->socket(), kCauseMs)) continue;
    if (absl::IsUnavailable(ReceiveMessage(processes_[other]->socket()).status())) {
      return Gone(other);
    }
  }
  return absl::Status(status.code(), absl::StrCat("process ", i + 1, " of ", processes_.size(),
                                                  ": ", status.message()));
}

absl::StatusOr<std::vector<LockTotal>> LockProcesses::Run(const LockTask& task, uint64_t run_ns) {
  const uint64_t begin_ns = load_.clock->NowNs() + kStartNs;
  const absl::StatusOr<Answers> answers =
      Ask(absl::StrCat("run ", TableLockName(task.kind), " ", task.locks, " ",
                       task.locality_percent, " ", begin_ns, " ", begin_ns + run_ns),
          "ran");
  if (!answers.ok()) return answers.status();
  std::vector<LockTotal> totals;
  for (const std::string& answer : *answers) {
    for (const absl::string_view line : absl::StrSplit(answer, '\n')) {
      absl::optional<LockTotal> total = LockTotal::Parse(line);
      if (!total.has_value()) return NonsenseError(answer);
      totals.push_back(*std::move(total));
    }
  }
  if (totals.size() != load_.threads_count()) return NonsenseError(answers->back());
  return totals;
}

absl::StatusOr<LockCounts> LockProcesses::Count() {
  const absl::StatusOr<Answers> answers = Ask("check", "checked");
  if (!answers.ok()) return answers.status();
  LockCounts counts;
  for (const std::string& answer : *answers) {
    const std::vector<absl::string_view> lines = absl::StrSplit(answer, '\n');
    if (lines.size() != 2) return NonsenseError(answer);
    for (size_t i = 0; i < 2; ++i) {
      std::vector<uint64_t>& sums = i == 0 ? counts.taken : counts.counted;
      const std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ', absl::SkipEmpty());
      sums.resize(std::max(sums.size(), words.size()));
      for (size_t lock = 0; lock < words.size(); ++lock) {
        uint64_t count = 0;
        if (!absl::SimpleAtoi(words[lock], &count)) return NonsenseError(answer);
        sums[lock] += count;
      }
    }
  }
  if (counts.taken.size() != counts.counted.size()) return NonsenseError(answers->back());
  return counts;
}

absl::Status LockProcesses::Finish() {
  for (const auto& process : processes_) {
    if (absl::Status status = process->Finish(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace acre::bench
