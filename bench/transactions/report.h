// How bench/txn tells what it measured: tables for people, JSON for programs.

#ifndef ACRE_BENCH_TRANSACTIONS_REPORT_H_
#define ACRE_BENCH_TRANSACTIONS_REPORT_H_

#include <cstdint>
#include <string>

#include "absl/types/optional.h"
#include "bench/transactions/rounds.h"
#include "bench/transactions/workload.h"
#include "nlohmann/json.hpp"

namespace acre::bench {

// What a run was, besides its results.
struct TxnReportOptions {
  const TxnWorkload* workload = nullptr;
  TxnRoundsOptions rounds = {};
  std::string fabric = {};  // What was picked.
  std::string path = {};
  uint32_t servers = 1;
  absl::optional<uint32_t> distributed_percent = {};  // Nothing: as chance has it.
  uint32_t hot_percent = 0;
  uint32_t hot_keys = 0;
  int64_t audit_before = 0;
  int64_t audit_after = 0;
  uint64_t errors = 0;
};

// Rates and latencies of each row; aborts by reason; what a transaction cost; latencies by kind; Redis and how many times
// its rate; the audit. With several threads: what the slowest committed for each commit of the fastest.
std::string FormatTxnResults(const TxnReportOptions& options, const TxnResults& results);

// An array, one object for each row: {system: "acre", workload, fabric, path, servers, threads, outstanding,
// distributed_percent (null: as chance has it), hot_percent, hot_keys, units, commits_per_second (median), commits_per_second_min, commits_per_second_max,
// committed, refused_percent, attempts_per_commit, attempts_max, aborts: {read, lock, validate, deadline, fenced},
// fallbacks, unknown, errors, latency_us: {p50, p99, p999, max}, kinds: [{name, percent, committed, refused_percent,
// attempts_max, latency_us}], per_transaction: {reads, commit_validations, calls, notices, answers, verbs, round_trips,
// opacity_validations, opacity_round_trips, client_verbs}, committed_by_thread, fairness, times_redis_pipelined,
// times_redis_one_by_one (null without Redis), audit_before, audit_after, rounds, seconds, machine}. `verbs` and
// `round_trips` are without those for opacity; `client_verbs` is what the queue pairs counted, opacity and all, in which
// reads in place do not appear.
// Of Redis: {system: "redis, pipelined" or "redis, one by one", workload, connections, commits_per_second, _min, _max,
// committed, latency_us, rounds, seconds, machine}.
nlohmann::json TxnResultsToJson(const TxnReportOptions& options, const TxnResults& results);

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_REPORT_H_
