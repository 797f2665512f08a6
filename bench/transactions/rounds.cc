#include "bench/transactions/rounds.h"

#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace acre::bench {
namespace {

// What a server's stats say of its verbs.
void AddServerVerbs(absl::string_view stats, transport::VerbCounters* verbs) {
  for (const absl::string_view line : absl::StrSplit(stats, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    uint64_t value = 0;
    if (words.size() != 2 || !absl::SimpleAtoi(words[1], &value)) continue;
    if (words[0] == "verbs_read") verbs->reads += value;
    if (words[0] == "verbs_write") verbs->writes += value;
    if (words[0] == "verbs_atomic") verbs->atomics += value;
  }
}

class Rounds {
 public:
  Rounds(const TxnRoundsOptions& options, const TxnWorkload& workload, TxnCrew* crew,
         Client* observer, RedisTransfer* redis)
      : options_(options), workload_(workload), crew_(crew), observer_(observer), redis_(redis) {}

  absl::StatusOr<TxnResults> Run() {
    MakeRows();
    if (options_.warmup_seconds > 0) {
      const absl::Status status = RunAll(options_.warmup_seconds, "warm-up");
      if (!status.ok()) return status;
      MakeRows();
    }
    for (uint32_t round = 0; round < options_.rounds; ++round) {
      const std::string name =
          "round " + std::to_string(round + 1) + " of " + std::to_string(options_.rounds);
      const absl::Status status = RunAll(options_.seconds / options_.rounds, name);
      if (!status.ok()) return status;
    }
    return std::move(results_);
  }

 private:
  // Empty ones.
  void MakeRows() {
    results_.rows.clear();
    results_.redis.clear();
    for (const uint64_t threads : options_.threads) {
      for (const uint64_t outstanding : options_.outstanding) {
        results_.rows.push_back({.threads = static_cast<uint32_t>(threads),
                                 .outstanding = static_cast<uint32_t>(outstanding),
                                 .total = TxnTotals(workload_.kinds().size())});
        results_.rows.back().committed.resize(threads);
      }
    }
    if (redis_ == nullptr) return;
    for (const RedisWay way : kRedisWays) results_.redis.push_back({.way = way});
  }

  // A slice of each row.
  absl::Status RunAll(double seconds, const std::string& name) {
    const auto run_ns = static_cast<uint64_t>(seconds * 1e9);
    size_t done = 0;
    for (TxnRow& row : results_.rows) {
      Tell(name, ++done);
      if (absl::Status status = Measure(run_ns, &row); !status.ok()) return status;
    }
    for (RedisRow& row : results_.redis) {
      Tell(name, ++done);
      if (absl::Status status = MeasureRedis(run_ns, &row); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  void Tell(const std::string& name, size_t number) {
    if (!options_.progress) return;
    std::fprintf(stderr, "%s, %zu of %zu ...  \r", name.c_str(), number,
                 results_.rows.size() + results_.redis.size());
  }

  absl::Status Measure(uint64_t run_ns, TxnRow* row) {
    const absl::StatusOr<transport::VerbCounters> before = ServerVerbs();
    if (!before.ok()) return before.status();
    const std::vector<TxnTotals> totals =
        crew_->Run({.threads = row->threads, .outstanding = row->outstanding, .run_ns = run_ns});
    const absl::StatusOr<transport::VerbCounters> after = ServerVerbs();
    if (!after.ok()) return after.status();
    row->server_verbs += *after;
    row->server_verbs -= *before;
    double commits_per_second = 0;
    for (size_t thread = 0; thread < totals.size(); ++thread) {
      const TxnTotals& total = totals[thread];
      commits_per_second +=
          static_cast<double>(total.committed()) / (static_cast<double>(total.run_ns) * 1e-9);
      row->committed[thread] += total.committed();
      row->total.Add(total);
      results_.audit_change += total.audit_change;
    }
    row->commits_per_second.push_back(commits_per_second);
    return absl::OkStatus();
  }

  absl::Status MeasureRedis(uint64_t run_ns, RedisRow* row) {
    const absl::StatusOr<RedisTransfer::Result> result = redis_->Run(row->way, run_ns);
    if (!result.ok()) return result.status();
    row->commits_per_second.push_back(static_cast<double>(result->committed) /
                                      (static_cast<double>(result->run_ns) * 1e-9));
    row->committed += result->committed;
    row->latency_ns.Merge(result->latency_ns);
    return absl::OkStatus();
  }

  // Of all servers, since they started.
  absl::StatusOr<transport::VerbCounters> ServerVerbs() {
    transport::VerbCounters verbs;
    for (const std::string& server : observer_->Servers()) {
      const absl::StatusOr<std::string> stats = observer_->ServerStats(server);
      if (!stats.ok()) return stats.status();
      AddServerVerbs(*stats, &verbs);
    }
    return verbs;
  }

  const TxnRoundsOptions& options_;
  const TxnWorkload& workload_;
  TxnCrew* const crew_;
  Client* const observer_;
  RedisTransfer* const redis_;
  TxnResults results_;
};

}  // namespace

absl::StatusOr<TxnResults> RunTxnRounds(const TxnRoundsOptions& options,
                                        const TxnWorkload& workload, TxnCrew* crew,
                                        Client* observer, RedisTransfer* redis) {
  return Rounds(options, workload, crew, observer, redis).Run();
}

}  // namespace acre::bench
