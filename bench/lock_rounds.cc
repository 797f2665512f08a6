#include "bench/lock_rounds.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

class Rounds {
 public:
  Rounds(const LockRoundsOptions& options, LockCluster* cluster)
      : options_(options), cluster_(cluster) {
    for (const uint64_t locks : options.locks) {
      for (const uint64_t locality : options.locality_percent) {
        for (const TableLock kind : options.kinds) {
          rows_.push_back({.kind = kind,
                           .locks = static_cast<uint32_t>(locks),
                           .locality_percent = static_cast<uint32_t>(locality)});
          rows_.back().operations.resize(options.load.threads_count());
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
  absl::Status Measure(LockRow* row) {
    const auto slice_ns = static_cast<uint64_t>(options_.seconds * 1e9 / options_.rounds);
    const absl::StatusOr<std::vector<LockTotal>> totals = cluster_->Run(
        {.kind = row->kind, .locks = row->locks, .locality_percent = row->locality_percent},
        slice_ns);
    if (!totals.ok()) return totals.status();
    CHECK_EQ(totals->size(), row->operations.size());
    double operations_per_second = 0;
    for (size_t thread = 0; thread < totals->size(); ++thread) {
      const LockTotal& total = (*totals)[thread];
      operations_per_second += total.operations_per_second();
      row->operations[thread] += total.operations_count();
      row->total.Add(total);
    }
    row->operations_per_second.push_back(operations_per_second);
    return absl::OkStatus();
  }

  // Mutual exclusion, as far as the guarded counters tell; that all locks are free the processes see.
  absl::Status Check() {
    const absl::StatusOr<LockCounts> counts = cluster_->Count();
    if (!counts.ok()) return counts.status();
    CHECK_EQ(counts->taken.size(), counts->counted.size());
    for (size_t lock = 0; lock < counts->taken.size(); ++lock) {
      const uint64_t taken = counts->taken[lock];
      if (taken == counts->counted[lock]) continue;
      return absl::InternalError(absl::StrCat("a lock was taken ", taken,
                                              " times, and what it guards counts ",
                                              counts->counted[lock], ": holders were not alone"));
    }
    return absl::OkStatus();
  }

  const LockRoundsOptions& options_;
  LockCluster* const cluster_;
  std::vector<LockRow> rows_;
};

}  // namespace

absl::StatusOr<std::vector<LockRow>> RunLockRounds(const LockRoundsOptions& options,
                                                   LockCluster* cluster, bool progress) {
  return Rounds(options, cluster).Run(progress);
}

}  // namespace acre::bench
