#include "tests/sim/campaign.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"

namespace acre::simulation {
namespace {

// What a child writes: that it begins a seed, and what came of it, with the finding, its judge and the counts
// behind it.
struct Record {
  uint64_t seed;
  uint64_t is_result;
  uint64_t operations;
  uint64_t answered;
  uint64_t virtual_ns;
  uint64_t cpu_ns;
  uint64_t trace_hash;
  uint64_t finding_bytes;
  uint64_t judge_bytes;
  uint64_t counts_bytes;
};

void WriteAll(int fd, const void* data, size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = write(fd, from, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) _exit(1);  // The parent has gone.
    from += written;
    bytes -= static_cast<size_t>(written);
  }
}

uint64_t CpuNs() {
  timespec time;
  CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time), 0);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// SIGPROF ends the child when a seed has used up its CPU time: not real time, the machine may be busy.
void LimitCpu(int seconds) {
  itimerval timer = {};
  timer.it_value.tv_sec = seconds;
  CHECK_EQ(setitimer(ITIMER_PROF, &timer, nullptr), 0);
}

std::map<std::string, uint64_t> ParseCounts(absl::string_view text) {
  std::map<std::string, uint64_t> counts;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, '\t');
    CHECK(absl::SimpleAtoi(parts.second, &counts[parts.first])) << line;
  }
  return counts;
}

struct Child {
  pid_t pid = -1;
  int fd = -1;
  uint64_t next_seed = 0;  // Begun or to be begun by it.
  uint64_t end_seed = 0;
  bool is_at_seed = false;
  std::string input;
};

class Running {
 public:
  Running(const CampaignOptions& options, const std::function<SeedReport(uint64_t)>& run_seed,
          const std::function<bool(const SeedReport&)>& on_report)
      : options_(options), run_seed_(run_seed), on_report_(on_report) {
    next_seed_ = options.first_seed;
  }
  ~Running() {
    for (Child& child : children_) End(&child, /*kills=*/true);
  }

  void Go() {
    while (!is_stopped_) {
      while (children_.size() < static_cast<size_t>(options_.jobs) && StartNext()) {
      }
      if (children_.empty()) return;
      ReadSome();
    }
  }

 private:
  // A new child for the seeds that a dead one left, or for new ones.
  bool StartNext() {
    Child child;
    if (!left_over_.empty()) {
      std::tie(child.next_seed, child.end_seed) = left_over_.back();
      left_over_.pop_back();
    } else if (next_seed_ <= options_.last_seed) {
      child.next_seed = next_seed_;
      const uint64_t left = options_.last_seed - next_seed_ + 1;
      child.end_seed = next_seed_ + std::min(left, static_cast<uint64_t>(options_.seeds_per_child));
      next_seed_ = child.end_seed;
    } else {
      return false;
    }
    int fds[2];
    CHECK_EQ(pipe(fds), 0) << strerror(errno);
    child.pid = fork();
    CHECK_GE(child.pid, 0) << strerror(errno);
    if (child.pid == 0) {
      close(fds[0]);
      RunChild(fds[1], child.next_seed, child.end_seed);
    }
    close(fds[1]);
    child.fd = fds[0];
    children_.push_back(std::move(child));
    return true;
  }

  [[noreturn]] void RunChild(int fd, uint64_t seed, uint64_t end_seed) {
    for (; seed < end_seed; ++seed) {
      Record record = {};
      record.seed = seed;
      WriteAll(fd, &record, sizeof(record));
      LimitCpu(options_.cpu_seconds_max);
      const uint64_t from_ns = CpuNs();
      const SeedReport report = run_seed_(seed);
      record.is_result = 1;
      record.operations = report.operations;
      record.answered = report.answered;
      record.virtual_ns = report.virtual_ns;
      record.cpu_ns = CpuNs() - from_ns;
      record.trace_hash = report.trace_hash;
      const std::string counts = absl::StrJoin(report.counts, "\n", absl::PairFormatter("\t"));
      record.finding_bytes = report.finding.size();
      record.judge_bytes = report.judge.size();
      record.counts_bytes = counts.size();
      WriteAll(fd, &record, sizeof(record));
      WriteAll(fd, report.finding.data(), report.finding.size());
      WriteAll(fd, report.judge.data(), report.judge.size());
      WriteAll(fd, counts.data(), counts.size());
    }
    // No destructors: what leaked would be found by those of the libraries.
    _exit(0);
  }

  void ReadSome() {
    std::vector<pollfd> fds;
    for (const Child& child : children_) fds.push_back({child.fd, POLLIN, 0});
    if (poll(fds.data(), fds.size(), -1) < 0) {
      CHECK_EQ(errno, EINTR);
      return;
    }
    for (size_t i = fds.size(); i-- > 0;) {
      if (fds[i].revents == 0 || is_stopped_) continue;
      Child& child = children_[i];
      char buffer[1 << 16];
      const ssize_t bytes = read(child.fd, buffer, sizeof(buffer));
      if (bytes < 0) continue;  // EINTR: another time.
      child.input.append(buffer, static_cast<size_t>(bytes));
      TakeRecords(&child);
      if (bytes == 0) OnEnd(i);
    }
  }

  void TakeRecords(Child* child) {
    Record record;
    while (child->input.size() >= sizeof(record) && !is_stopped_) {
      std::memcpy(&record, child->input.data(), sizeof(record));
      const size_t bytes =
          sizeof(record) + record.finding_bytes + record.judge_bytes + record.counts_bytes;
      if (child->input.size() < bytes) return;
      child->is_at_seed = record.is_result == 0;
      child->next_seed = record.seed + record.is_result;
      if (record.is_result != 0) {
        SeedReport report;
        report.seed = record.seed;
        report.operations = record.operations;
        report.answered = record.answered;
        report.virtual_ns = record.virtual_ns;
        report.cpu_ns = record.cpu_ns;
        report.trace_hash = record.trace_hash;
        size_t at = sizeof(record);
        const auto take = [child, &at](size_t part_bytes) {
          return child->input.substr(std::exchange(at, at + part_bytes), part_bytes);
        };
        report.finding = take(record.finding_bytes);
        report.judge = take(record.judge_bytes);
        report.counts = ParseCounts(take(record.counts_bytes));
        is_stopped_ = !on_report_(report);
      }
      child->input.erase(0, bytes);
    }
  }

  void OnEnd(size_t index) {
    Child child = std::move(children_[index]);
    children_.erase(children_.begin() + static_cast<ptrdiff_t>(index));
    const int status = End(&child, /*kills=*/false);
    if (child.is_at_seed && !is_stopped_) {
      SeedReport report;
      report.seed = child.next_seed++;
      report.judge = kProgramJudge;
      if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF) {
        report.finding =
            absl::StrCat("the run does not end: it took ", options_.cpu_seconds_max, " s of CPU");
      } else if (WIFSIGNALED(status)) {
        report.finding = absl::StrCat("the program ended with signal ", WTERMSIG(status), ", ",
                                      strsignal(WTERMSIG(status)));
      } else {
        report.finding = absl::StrCat("the program ended with code ", WEXITSTATUS(status));
      }
      is_stopped_ = !on_report_(report);
    }
    if (child.next_seed < child.end_seed) left_over_.push_back({child.next_seed, child.end_seed});
  }

  static int End(Child* child, bool kills) {
    if (kills) kill(child->pid, SIGKILL);
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0) CHECK_EQ(errno, EINTR);
    close(child->fd);
    return status;
  }

  const CampaignOptions& options_;
  const std::function<SeedReport(uint64_t)>& run_seed_;
  const std::function<bool(const SeedReport&)>& on_report_;
  uint64_t next_seed_;
  std::vector<std::pair<uint64_t, uint64_t>> left_over_;
  std::vector<Child> children_;
  bool is_stopped_ = false;
};

}  // namespace

void RunCampaign(const CampaignOptions& options,
                 const std::function<SeedReport(uint64_t)>& run_seed,
                 const std::function<bool(const SeedReport&)>& on_report) {
  Running(options, run_seed, on_report).Go();
}

}  // namespace acre::simulation
