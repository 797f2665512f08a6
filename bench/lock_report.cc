// The table and the JSON of bench/locks.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/lock_rounds.h"
#include "bench/machine.h"
#include "bench/median.h"

namespace acre::bench {
namespace {

// Of the curve in the JSON, which bench/plot.py draws.
constexpr double kCurveShares[] = {0.01, 0.05, 0.1,  0.2,  0.3,  0.4,   0.5,   0.6,   0.7,
                                   0.8,  0.9,  0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999};

double Microseconds(const LockRow& row, double share) {
  return static_cast<double>(row.total.acquire_ns.Percentile(share)) * 1e-3;
}

// Nothing: there were no such operations.
absl::optional<double> PerOperation(const LockRow& row, LockSide side, uint64_t count) {
  if (row.total.operations[side] == 0) return absl::nullopt;
  return static_cast<double>(count) / static_cast<double>(row.total.operations[side]);
}
absl::optional<double> VerbsPerOperation(const LockRow& row, LockSide side) {
  const transport::VerbCounters& verbs = row.total.verbs[side];
  return PerOperation(row, side, verbs.reads + verbs.writes + verbs.atomics);
}
absl::optional<double> TripsPerOperation(const LockRow& row, LockSide side) {
  return PerOperation(row, side, row.total.verbs[side].round_trips);
}
std::string AsText(const absl::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.2f", *value) : "-";
}
nlohmann::json AsJson(const absl::optional<double>& value) {
  return value.has_value() ? nlohmann::json(*value) : nlohmann::json();
}

// Operations of the slowest thread for one of the fastest.
double Fairness(const LockRow& row) {
  const auto [slowest, fastest] = std::minmax_element(row.operations.begin(), row.operations.end());
  return static_cast<double>(*slowest) / static_cast<double>(std::max<uint64_t>(*fastest, 1));
}

// How often as many operations an ALock did, in the rounds in which both did any: the kernel may keep a thread off its
// core for a whole slice. Nothing: no ALock was measured, or there is no such round.
absl::optional<double> ALockTimes(const std::vector<LockRow>& rows, const LockRow& row) {
  for (const LockRow& alock : rows) {
    if (alock.kind != TableLock::kALock || alock.locks != row.locks ||
        alock.locality_percent != row.locality_percent) {
      continue;
    }
    std::vector<double> ratios;
    for (size_t i = 0; i < row.operations_per_second.size(); ++i) {
      const double rate = row.operations_per_second[i];
      if (rate > 0 && alock.operations_per_second[i] > 0) {
        ratios.push_back(alock.operations_per_second[i] / rate);
      }
    }
    if (ratios.empty()) return absl::nullopt;
    return Median(std::move(ratios));
  }
  return absl::nullopt;
}

}  // namespace

std::string FormatLockRows(const LockRoundsOptions& options, const std::vector<LockRow>& rows) {
  const LockLoadOptions& load = options.load;
  std::string table = absl::StrFormat(
      "locks over %s, %d nodes x %d processes x %d threads, budgets %d local, %d remote, medians "
      "of %d rounds\n%-6s %6s %6s %-9s %12s %9s %9s %9s %10s %8s %8s %8s %8s %8s %8s\n",
      load.fabric, load.nodes, load.processes, load.threads, load.budgets.local,
      load.budgets.remote, options.rounds, "fabric", "locks", "own %", "kind", "ops/s", "p50 us",
      "p99 us", "p99.9 us", "max us", "own", "trips", "others", "trips", "fairness", "alock x");
  for (const LockRow& row : rows) {
    absl::StrAppendFormat(
        &table, "%-6s %6d %6d %-9s %12.0f %9.2f %9.2f %9.2f %10.1f %8s %8s %8s %8s %8.3f %8s\n",
        load.fabric, row.locks, row.locality_percent, TableLockName(row.kind),
        Median(row.operations_per_second), Microseconds(row, 0.5), Microseconds(row, 0.99),
        Microseconds(row, 0.999), static_cast<double>(row.total.acquire_ns.max()) * 1e-3,
        AsText(VerbsPerOperation(row, kOwnLock)), AsText(TripsPerOperation(row, kOwnLock)),
        AsText(VerbsPerOperation(row, kOthersLock)), AsText(TripsPerOperation(row, kOthersLock)),
        Fairness(row), AsText(ALockTimes(rows, row)));
  }
  return table;
}

nlohmann::json LockRowsToJson(const LockRoundsOptions& options, const std::vector<LockRow>& rows) {
  const LockLoadOptions& load = options.load;
  const nlohmann::json machine = DescribeMachine();
  nlohmann::json array = nlohmann::json::array();
  for (const LockRow& row : rows) {
    nlohmann::json curve = nlohmann::json::array();
    for (const double share : kCurveShares) curve.push_back({share, Microseconds(row, share)});
    array.push_back({{"kind", TableLockName(row.kind)},
                     {"fabric", load.fabric},
                     {"nodes", load.nodes},
                     {"processes", load.processes},
                     {"threads", load.threads},
                     {"locks", row.locks},
                     {"locality_percent", row.locality_percent},
                     {"seed", load.seed},
                     {"local_budget", load.budgets.local},
                     {"remote_budget", load.budgets.remote},
                     {"hold_ns", load.hold_ns},
                     {"ops_per_second", Median(row.operations_per_second)},
                     {"alock_times", AsJson(ALockTimes(rows, row))},
                     {"operations", row.total.operations_count()},
                     {"operations_by_thread", row.operations},
                     {"fairness", Fairness(row)},
                     {"acquire_us",
                      {{"p50", Microseconds(row, 0.5)},
                       {"p99", Microseconds(row, 0.99)},
                       {"p999", Microseconds(row, 0.999)},
                       {"max", static_cast<double>(row.total.acquire_ns.max()) * 1e-3}}},
                     {"acquire_curve", curve},
                     {"verbs_per_own_op", AsJson(VerbsPerOperation(row, kOwnLock))},
                     {"round_trips_per_own_op", AsJson(TripsPerOperation(row, kOwnLock))},
                     {"verbs_per_others_op", AsJson(VerbsPerOperation(row, kOthersLock))},
                     {"round_trips_per_others_op", AsJson(TripsPerOperation(row, kOthersLock))},
                     {"rounds", options.rounds},
                     {"machine", machine}});
  }
  return array;
}

}  // namespace acre::bench
