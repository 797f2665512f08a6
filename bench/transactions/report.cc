#include "bench/transactions/report.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/machine.h"
#include "bench/median.h"

namespace acre::bench {
namespace {

constexpr AbortReason::Phase kPhases[] = {
    AbortReason::Phase::kRead, AbortReason::Phase::kLock, AbortReason::Phase::kValidate,
    AbortReason::Phase::kDeadline, AbortReason::Phase::kFenced};

double Microseconds(const Histogram& latency_ns, double share) {
  return static_cast<double>(latency_ns.Percentile(share)) * 1e-3;
}

// 0 of 0 is 0.
double Ratio(uint64_t count, uint64_t of) {
  return of == 0 ? 0 : static_cast<double>(count) / static_cast<double>(of);
}

double Least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}
double Most(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

uint64_t Aborts(const TxnRow& row, AbortReason::Phase phase) {
  return row.total.stats.aborted[static_cast<size_t>(phase)];
}

uint64_t Refused(const TxnTotals& totals) {
  uint64_t refused = 0;
  for (const TxnTotals::OfKind& kind : totals.kinds) refused += kind.refused;
  return refused;
}

// Commits of the slowest thread for one of the fastest.
double Fairness(const TxnRow& row) {
  const auto [slowest, fastest] = std::minmax_element(row.committed.begin(), row.committed.end());
  return Ratio(*slowest, *fastest);
}

// What a committed transaction cost, those attempts included that failed.
struct Cost {
  explicit Cost(const TxnRow& row) {
    const TransactionStats& stats = row.total.stats;
    const transport::VerbCounters& client = row.total.verbs;
    const transport::VerbCounters& server = row.server_verbs;
    const auto each = [&](uint64_t count) { return Ratio(count, row.total.committed()); };
    reads = each(stats.reads);
    commit_validations = each(stats.commit_validations);
    calls = each(stats.calls);
    notices = each(stats.notices);
    answers = each(server.reads + server.writes + server.atomics);
    verbs = reads + commit_validations + calls + notices + answers;
    round_trips = each(stats.round_trips);
    opacity_validations = each(stats.read_validations);
    opacity_round_trips = each(stats.read_validation_round_trips);
    client_verbs = each(client.reads + client.writes + client.atomics);
  }

  double reads, commit_validations, calls, notices, answers, verbs, round_trips,
      opacity_validations, opacity_round_trips, client_verbs;
};

// How many times the rate of Redis. Nothing: it was not measured.
absl::optional<double> TimesRedis(const TxnResults& results, const TxnRow& row, RedisWay way) {
  for (const RedisRow& redis : results.redis) {
    if (redis.way == way) return MedianRatio(row.commits_per_second, redis.commits_per_second);
  }
  return absl::nullopt;
}

std::string Load(const TxnRow& row) {
  return absl::StrFormat("%7d %11d", row.threads, row.outstanding);
}
constexpr char kLoadHeading[] = "threads outstanding";

std::string FormatHeading(const TxnReportOptions& options) {
  const TxnWorkload& workload = *options.workload;
  std::string text =
      absl::StrFormat("%s on %d server%s over %s, reads %s, %d %s", workload.name(),
                      options.servers, options.servers == 1 ? "" : "s", options.fabric,
                      options.path, workload.units_count(), workload.units_name());
  if (options.distributed_percent.has_value()) {
    absl::StrAppend(&text, ", ", *options.distributed_percent, " % distributed");
  }
  if (options.hot_percent > 0) {
    absl::StrAppend(&text, ", ", options.hot_percent, " % on ", options.hot_keys, " of them");
  }
  absl::StrAppendFormat(&text, ", medians of %d rounds, %g s each row\n", options.rounds.rounds,
                        options.rounds.seconds);
  return text;
}

std::string FormatRates(const TxnResults& results) {
  std::string text = absl::StrFormat("%s %11s %11s %11s %8s %8s %9s %9s %9s %8s %8s\n",
                                     kLoadHeading, "commits/s", "min", "max", "attempts", "most",
                                     "p50 us", "p99 us", "p99.9 us", "refused", "fairness");
  for (const TxnRow& row : results.rows) {
    const Histogram latency_ns = row.total.latency_ns();
    const uint64_t committed = row.total.committed();
    absl::StrAppendFormat(
        &text, "%s %11.0f %11.0f %11.0f %8.3f %8d %9.2f %9.2f %9.2f %6.1f %% %8s\n", Load(row),
        Median(row.commits_per_second), Least(row.commits_per_second), Most(row.commits_per_second),
        Ratio(row.total.attempts(), committed), row.total.attempts_max(),
        Microseconds(latency_ns, 0.5), Microseconds(latency_ns, 0.99),
        Microseconds(latency_ns, 0.999), 100 * Ratio(Refused(row.total), committed),
        row.threads > 1 ? absl::StrFormat("%.2f", Fairness(row)) : "-");
  }
  return text;
}

std::string FormatAborts(const TxnResults& results) {
  std::string text =
      absl::StrFormat("\naborts, and runs under locks, of a thousand commits\n%s", kLoadHeading);
  for (const AbortReason::Phase phase : kPhases) {
    absl::StrAppendFormat(&text, " %10s", AbortPhaseName(phase));
  }
  absl::StrAppendFormat(&text, " %10s %10s\n", "locks", "unknown");
  for (const TxnRow& row : results.rows) {
    const auto thousandths = [&](uint64_t count) {
      return absl::StrFormat(" %10.3f", 1000 * Ratio(count, row.total.committed()));
    };
    absl::StrAppend(&text, Load(row));
    for (const AbortReason::Phase phase : kPhases) {
      absl::StrAppend(&text, thousandths(Aborts(row, phase)));
    }
    absl::StrAppend(&text, thousandths(row.total.stats.fallbacks));
    absl::StrAppendFormat(&text, " %10d\n", row.total.stats.unknown);
  }
  return text;
}

std::string FormatCosts(const TxnResults& results) {
  std::string text = absl::StrFormat(
      "\nverbs and round trips of a commit; those for opacity in a row of their own\n"
      "%s %9s %8s %9s %8s %8s %8s %8s %8s %13s\n",
      kLoadHeading, "", "reads", "validated", "calls", "notices", "answers", "verbs", "trips",
      "queue pairs");
  for (const TxnRow& row : results.rows) {
    const Cost cost(row);
    absl::StrAppendFormat(&text, "%s %9s %8.3f %9.3f %8.3f %8.3f %8.3f %8.3f %8.3f %13.3f\n",
                          Load(row), "", cost.reads, cost.commit_validations, cost.calls,
                          cost.notices, cost.answers, cost.verbs, cost.round_trips,
                          cost.client_verbs);
    absl::StrAppendFormat(&text, "%19s %9s %8s %9.3f %8s %8s %8s %8.3f %8.3f\n", "", "opacity", "",
                          cost.opacity_validations, "", "", "", cost.opacity_validations,
                          cost.opacity_round_trips);
  }
  return text;
}

std::string FormatKinds(const TxnReportOptions& options, const TxnResults& results) {
  const std::vector<TxnKind>& kinds = options.workload->kinds();
  if (kinds.size() == 1) return "";
  std::string text = absl::StrFormat("\n%s %-20s %6s %8s %8s %9s %9s %9s\n", kLoadHeading, "kind",
                                     "share", "refused", "most", "p50 us", "p99 us", "p99.9 us");
  for (const TxnRow& row : results.rows) {
    for (size_t i = 0; i < kinds.size(); ++i) {
      const TxnTotals::OfKind& kind = row.total.kinds[i];
      absl::StrAppendFormat(&text, "%s %-20s %4.1f %% %6.1f %% %8d %9.2f %9.2f %9.2f\n", Load(row),
                            kinds[i].name, 100 * Ratio(kind.committed, row.total.committed()),
                            100 * Ratio(kind.refused, kind.committed), kind.attempts_max,
                            Microseconds(kind.latency_ns, 0.5), Microseconds(kind.latency_ns, 0.99),
                            Microseconds(kind.latency_ns, 0.999));
    }
  }
  return text;
}

std::string FormatRedis(const TxnResults& results) {
  if (results.redis.empty()) return "";
  std::string text =
      absl::StrFormat("\n%-19s %11s %11s %11s %11s %9s %9s  ours, times its rate\n", "",
                      "connections", "commits/s", "min", "max", "p50 us", "p99 us");
  for (const RedisRow& redis : results.redis) {
    absl::StrAppendFormat(&text, "%-19s %11d %11.0f %11.0f %11.0f %9.2f %9.2f ",
                          RedisWayName(redis.way), RedisConnections(redis.way),
                          Median(redis.commits_per_second), Least(redis.commits_per_second),
                          Most(redis.commits_per_second), Microseconds(redis.latency_ns, 0.5),
                          Microseconds(redis.latency_ns, 0.99));
    for (const TxnRow& row : results.rows) {
      absl::StrAppendFormat(&text, " %.2f (%d x %d)", *TimesRedis(results, row, redis.way),
                            row.threads, row.outstanding);
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

nlohmann::json LatencyToJson(const Histogram& latency_ns) {
  return {{"p50", Microseconds(latency_ns, 0.5)},
          {"p99", Microseconds(latency_ns, 0.99)},
          {"p999", Microseconds(latency_ns, 0.999)},
          {"max", static_cast<double>(latency_ns.max()) * 1e-3}};
}

nlohmann::json KindsToJson(const TxnReportOptions& options, const TxnRow& row) {
  nlohmann::json kinds = nlohmann::json::array();
  for (size_t i = 0; i < row.total.kinds.size(); ++i) {
    const TxnTotals::OfKind& kind = row.total.kinds[i];
    kinds.push_back({{"name", options.workload->kinds()[i].name},
                     {"percent", options.workload->kinds()[i].percent},
                     {"committed", kind.committed},
                     {"refused_percent", 100 * Ratio(kind.refused, kind.committed)},
                     {"attempts_max", kind.attempts_max},
                     {"latency_us", LatencyToJson(kind.latency_ns)}});
  }
  return kinds;
}

nlohmann::json CostToJson(const Cost& cost) {
  return {{"reads", cost.reads},
          {"commit_validations", cost.commit_validations},
          {"calls", cost.calls},
          {"notices", cost.notices},
          {"answers", cost.answers},
          {"verbs", cost.verbs},
          {"round_trips", cost.round_trips},
          {"opacity_validations", cost.opacity_validations},
          {"opacity_round_trips", cost.opacity_round_trips},
          {"client_verbs", cost.client_verbs}};
}

void AddRates(const std::vector<double>& commits_per_second, nlohmann::json* row) {
  (*row)["commits_per_second"] = Median(commits_per_second);
  (*row)["commits_per_second_min"] = Least(commits_per_second);
  (*row)["commits_per_second_max"] = Most(commits_per_second);
}

template <class Value>
nlohmann::json OrNull(const absl::optional<Value>& value) {
  return value.has_value() ? nlohmann::json(*value) : nlohmann::json();
}

nlohmann::json RowToJson(const TxnReportOptions& options, const TxnResults& results,
                         const TxnRow& row) {
  const uint64_t committed = row.total.committed();
  nlohmann::json aborts;
  for (const AbortReason::Phase phase : kPhases) aborts[AbortPhaseName(phase)] = Aborts(row, phase);
  return {{"system", "acre"},
          {"fabric", options.fabric},
          {"path", options.path},
          {"servers", options.servers},
          {"threads", row.threads},
          {"outstanding", row.outstanding},
          {"distributed_percent", OrNull(options.distributed_percent)},
          {"hot_percent", options.hot_percent},
          {"hot_keys", options.hot_keys},
          {"units", options.workload->units_count()},
          {"committed", committed},
          {"refused_percent", 100 * Ratio(Refused(row.total), committed)},
          {"attempts_per_commit", Ratio(row.total.attempts(), committed)},
          {"attempts_max", row.total.attempts_max()},
          {"aborts", aborts},
          {"fallbacks", row.total.stats.fallbacks},
          {"unknown", row.total.stats.unknown},
          {"errors", options.errors},
          {"latency_us", LatencyToJson(row.total.latency_ns())},
          {"kinds", KindsToJson(options, row)},
          {"per_transaction", CostToJson(Cost(row))},
          {"committed_by_thread", row.committed},
          {"fairness", Fairness(row)},
          {"times_redis_pipelined", OrNull(TimesRedis(results, row, RedisWay::kPipelined))},
          {"times_redis_one_by_one", OrNull(TimesRedis(results, row, RedisWay::kOneByOne))},
          {"audit_before", options.audit_before},
          {"audit_after", options.audit_after}};
}

}  // namespace

std::string FormatTxnResults(const TxnReportOptions& options, const TxnResults& results) {
  return absl::StrCat(FormatHeading(options), FormatRates(results), FormatAborts(results),
                      FormatCosts(results), FormatKinds(options, results), FormatRedis(results),
                      "\n", options.workload->audit_name(), ": ", options.audit_before, " before, ",
                      options.audit_after, " after\n");
}

nlohmann::json TxnResultsToJson(const TxnReportOptions& options, const TxnResults& results) {
  nlohmann::json array = nlohmann::json::array();
  for (const TxnRow& row : results.rows) {
    array.push_back(RowToJson(options, results, row));
    AddRates(row.commits_per_second, &array.back());
  }
  for (const RedisRow& redis : results.redis) {
    array.push_back({{"system", RedisWayName(redis.way)},
                     {"connections", RedisConnections(redis.way)},
                     {"committed", redis.committed},
                     {"latency_us", LatencyToJson(redis.latency_ns)}});
    AddRates(redis.commits_per_second, &array.back());
  }
  const nlohmann::json machine = DescribeMachine();
  for (nlohmann::json& row : array) {
    row["workload"] = options.workload->name();
    row["rounds"] = options.rounds.rounds;
    row["seconds"] = options.rounds.seconds;
    row["machine"] = machine;
  }
  return array;
}

}  // namespace acre::bench
