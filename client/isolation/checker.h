// The isolation checker: which isolation level did a store keep, by a history of transactions alone?
//
// It deduces what must have come before what (Adya's dependencies, recovered as Elle does from what reads saw) and
// looks for what no order can explain. docs/isolation.md says by which rules, and what cannot be found.
//
// A finding is never a guess: each is a proof from the history, under the assumptions of that page. The verdict on
// each level is exact for what can be deduced; for lists that makes it exact for the history: what has no
// finding is strictly serializable. For registers, where the order of writes is not always known, something may
// be missed.

#ifndef ACRE_CLIENT_ISOLATION_CHECKER_H_
#define ACRE_CLIENT_ISOLATION_CHECKER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/isolation/history.h"

namespace acre::isolation {

// From weak to strong. A history that breaks one breaks all stronger ones.
enum class Level : uint8_t {
  kReadUncommitted,      // Adya's PL-1.
  kReadCommitted,        // PL-2.
  kSnapshotIsolation,    // By data alone: snapshots may lie in the past.
  kSerializable,         // PL-3, for items: there are no predicates in a history.
  kSessionSerializable,  // And nobody travels back behind its own transactions.
  kStrictSerializable,   // And what returned before another was invoked comes before it.
  kOpaque,               // And those that did not commit saw nothing else either.
};
constexpr size_t kLevels = 7;
absl::string_view NameOf(Level level);

enum class Anomaly : uint8_t {
  kGarbage,            // A read saw what nobody wrote.
  kDuplicate,          // A list holds an element twice.
  kIncompatibleOrder,  // Two reads of a list, none of which is the other's beginning.
  kInternal,     // A transaction does not see its own writes, or sees those that it has yet to do.
  kDirtyWrite,   // G0: a cycle of writes.
  kAbortedRead,  // G1a.
  kIntermediateRead,  // G1b.
  kCircularFlow,      // G1c: a cycle of writes and of reads of what was written.
  kDirtyUpdate,       // A committed write on top of one that was aborted.
  kUnrepeatable,      // Two reads of one transaction differ, not by its own writes.
  kLostUpdate,        // Two transactions changed the same version, each by what it had read.
  kSingle,            // G-single: a cycle with one anti-dependency, as in a read skew.
  kNonadjacent,       // Several, no two in a row, as in a long fork.
  kItem,              // G2: any others, as in a write skew.
};

// What a cycle leans on besides the data.
enum class Time : uint8_t { kNone, kProcess, kRealTime };

struct Finding {
  Anomaly anomaly = Anomaly::kGarbage;
  Time time = Time::kNone;
  // Of transactions that did not commit: those that did are right, but what these saw never stood together.
  bool is_of_uncommitted = false;
  uint64_t count =
      1;  // So many of this kind. Of cycles always 1: only a smallest one is looked for.
  // The example's, as indices into the history; of a cycle: in its order, as few as were found.
  std::vector<size_t> transactions;
  std::string text;  // For people: the example, and why each step must be.
};
// For instance "G-single-realtime".
std::string NameOf(const Finding& finding);
// The weakest level that does not allow it.
Level BrokenBy(const Finding& finding);

struct CheckOptions {
  // Looks at an edge, for each kind of cycle, in search of the smallest example. Verdicts do not depend on it.
  uint64_t work_max = 5'000'000;
};

struct Report {
  std::vector<Finding>
      findings;  // At most one of each name, the weakest level that is broken first.
  uint64_t transactions = 0;
  uint64_t committed = 0;  // Those included of unknown outcome whose writes were seen.
  uint64_t keys = 0;
  uint64_t edges = 0;
  uint64_t work = 0;  // Looks at an edge in search of examples.

  bool Keeps(Level level) const;
  const Finding* Find(absl::string_view name) const;  // Null: there is none.
};

// InvalidArgument: the history cannot be judged: a value is written to a key twice, or a key is both a list and a
// register. The message names the transaction by the place of its invocation.
absl::StatusOr<Report> Check(const History& history, const CheckOptions& options = {});

// The findings in words, and for each level whether it was kept.
std::string ToText(const Report& report);

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_CHECKER_H_
