#include "bench/lock_rounds.h"

#include <poll.h>

#include <cstdio>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "bench/subprocess.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// From the command to the begin of a slice: by then the threads of all processes are there.
constexpr uint64_t kStartNs = 10'000'000;
// How long an error of one process waits for the death of another, which may be its cause.
constexpr int kCauseMs = 100;

// To all processes at once.
class Talk {
 public:
  using Answers = std::vector<std::string>;  // By process.

  explicit Talk(const LockProcesses& processes) : processes_(processes) {}

  // The same for all processes; what they answer behind `word`. One that is gone does not leave us waiting for others
  // that wait for it.
  absl::StatusOr<Answers> Ask(const std::string& message, absl::string_view word) {
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

 private:
  absl::Status Gone(size_t i) {
    const absl::Status how = processes_[i]->Finish();
    return absl::UnavailableError(
        absl::StrCat("process ", i + 1, " of ", processes_.size(), ", a node's, is gone: ",
                     how.ok() ? absl::string_view("it has left early") : how.message()));
  }

  // Process `i` told `status`. If another one has died, that is why.
  absl::Status CauseOf(const absl::Status& status, size_t i) {
    for (size_t other = 0; other < processes_.size(); ++other) {
      if (other == i || !CanReceive(processes_[other]->socket(), kCauseMs)) continue;
      if (absl::IsUnavailable(ReceiveMessage(processes_[other]->socket()).status())) {
        return Gone(other);
      }
    }
    return absl::Status(status.code(), absl::StrCat("process ", i + 1, " of ", processes_.size(),
                                                    ": ", status.message()));
  }

  const LockProcesses& processes_;
};

class Rounds {
 public:
  Rounds(const LockRoundsOptions& options, const LockProcesses& processes)
      : options_(options), load_(options.load), talk_(processes) {
    for (const uint64_t locks : options.locks) {
      for (const uint64_t locality : options.locality_percent) {
        for (const TableLock kind : options.kinds) {
          rows_.push_back({.kind = kind,
                           .locks = static_cast<uint32_t>(locks),
                           .locality_percent = static_cast<uint32_t>(locality)});
          rows_.back().operations.resize(load_.threads_count());
        }
      }
    }
  }

  absl::StatusOr<std::vector<LockRow>> Run(bool progress) {
    absl::Status status;
    for (uint32_t round = 0; round < options_.rounds && status.ok(); ++round) {
      for (size_t i = 0; i < rows_.size() && status.ok(); ++i) {
        if (progress) {
          std::fprintf(stderr, "round %u of %u, %zu of %zu ...  \r", round + 1, options_.rounds,
                       i + 1, rows_.size());
        }
        status = Measure(&rows_[i]);
      }
    }
    if (status.ok()) status = Check();
    if (!status.ok()) return status;
    return std::move(rows_);
  }

 private:
  using Answers = Talk::Answers;

  absl::Status Measure(LockRow* row) {
    const auto slice_ns = static_cast<uint64_t>(options_.seconds * 1e9 / options_.rounds);
    const uint64_t begin_ns = load_.clock->NowNs() + kStartNs;
    const absl::StatusOr<Answers> answers =
        talk_.Ask(absl::StrCat("run ", TableLockName(row->kind), " ", row->locks, " ",
                               row->locality_percent, " ", begin_ns, " ", begin_ns + slice_ns),
                  "ran");
    if (!answers.ok()) return answers.status();
    double operations_per_second = 0;
    size_t thread = 0;
    for (const std::string& answer : *answers) {
      for (const absl::string_view line : absl::StrSplit(answer, '\n')) {
        const absl::optional<LockTotal> total = LockTotal::Parse(line);
        if (!total.has_value() || thread == row->operations.size()) return NonsenseError(answer);
        operations_per_second += total->operations_per_second();
        row->operations[thread++] += total->operations_count();
        row->total.Add(*total);
      }
    }
    if (thread != row->operations.size()) return NonsenseError(answers->back());
    row->operations_per_second.push_back(operations_per_second);
    return absl::OkStatus();
  }

  // Mutual exclusion, as far as the guarded counters tell; that all locks are free the processes see.
  absl::Status Check() {
    const absl::StatusOr<Answers> answers = talk_.Ask("check", "checked");
    if (!answers.ok()) return answers.status();
    std::vector<uint64_t> sums[2];  // Taken, counted.
    for (const std::string& answer : *answers) {
      const std::vector<absl::string_view> lines = absl::StrSplit(answer, '\n');
      if (lines.size() != 2) return NonsenseError(answer);
      for (size_t i = 0; i < 2; ++i) {
        const std::vector<absl::string_view> words =
            absl::StrSplit(lines[i], ' ', absl::SkipEmpty());
        sums[i].resize(std::max(sums[i].size(), words.size()));
        for (size_t lock = 0; lock < words.size(); ++lock) {
          uint64_t count = 0;
          if (!absl::SimpleAtoi(words[lock], &count)) return NonsenseError(answer);
          sums[i][lock] += count;
        }
      }
    }
    for (size_t lock = 0; lock < sums[0].size(); ++lock) {
      if (sums[0][lock] == sums[1][lock]) continue;
      return absl::InternalError(absl::StrCat("a lock was taken ", sums[0][lock],
                                              " times, and what it guards counts ", sums[1][lock],
                                              ": holders were not alone"));
    }
    return absl::OkStatus();
  }

  const LockRoundsOptions& options_;
  const LockLoadOptions& load_;
  Talk talk_;
  std::vector<LockRow> rows_;
};

}  // namespace

absl::Status ConnectLockProcesses(const LockProcesses& processes) {
  Talk talk(processes);
  const absl::StatusOr<Talk::Answers> endpoints = talk.Ask("open", "opened");
  if (!endpoints.ok()) return endpoints.status();
  const absl::Status connected =
      talk.Ask(absl::StrCat("connect\n", absl::StrJoin(*endpoints, "\n")), "connected").status();
  if (!connected.ok()) return connected;
  const absl::StatusOr<Talk::Answers> keys = talk.Ask("keys", "keys");
  if (!keys.ok()) return keys.status();
  return talk.Ask(absl::StrCat("attach\n", absl::StrJoin(*keys, "\n")), "attached").status();
}

absl::StatusOr<std::vector<LockRow>> RunLockRounds(const LockRoundsOptions& options,
                                                   const LockProcesses& processes, bool progress) {
  CHECK_EQ(processes.size(), options.load.processes_count());
  return Rounds(options, processes).Run(progress);
}

}  // namespace acre::bench
