// History: what several clients asked of single keys and were told. The input of the checkers, and
// their counter-examples.
//
// Times are those of any one clock that all its clients share: virtual time in the simulator,
// CLOCK_MONOTONIC between real processes of one machine. Of two operations the first came before the
// second only if it returned at a smaller time than the second was invoked at; all others overlap.
//
// Homes. An operation names the home of its key, a server in one address (0 where there is but one).
// The same key at two homes counts as two keys.
//
// Incarnations. Cut{home, at} says that the home died: `at` is the last moment at which the old
// incarnation can have done or shown anything, a moment before the new one does. Where readers go on
// under a dead server's lease (docs/leases.md), that is the lease's end, not the kill. All keys of
// the home are absent from then on. A Put or Delete that was invoked before the cut takes effect
// before it or never, whenever and whatever it returned. A Get (and a Delete that found nothing) that
// spans the cut may speak of either incarnation.
//
// That holds for operations that know which incarnation they speak to when they are invoked. One that is
// `crossing` does not: its client looks for a server while the operation is under way, as the client
// library does by itself. Such a Put or Delete, too, takes effect once or never, but before the first
// cut that is later than its return.
//
// The text form: one line per operation or cut, in any order, `#` begins a comment.
//
//   acre-history 1
//   c3 h0 100 200 ok put "key" "value"       client, home, invoked, returned, outcome, what
//   c3 h0 210 - unknown put "key" "v2"       never returned
//   c4 h0 215 230 ok get "key" "v2"
//   c4 h0 235 240 ok delete "key" found      or `missing`, or nothing if it was not told
//   c4 h0 250 260 ok get "key" absent
//   c5 h0 270 280 ok put "key" "v3" crossing    a Put or Delete that is
//   cut h0 1000
//
// Bytes in quotes are escaped as in C.

#ifndef ACRE_TESTS_CHECKERS_HISTORY_H_
#define ACRE_TESTS_CHECKERS_HISTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace acre::checkers {

enum class OperationKind : uint8_t { kGet, kPut, kDelete };

enum class Outcome : uint8_t {
  kOk,
  kFailed,   // It certainly did not happen, and never will.
  kUnknown,  // It may happen at any time after its invocation, also after its client gave up.
};

constexpr uint64_t kNever = ~uint64_t{0};

struct Operation {
  OperationKind kind = OperationKind::kGet;
  Outcome outcome = Outcome::kUnknown;
  uint32_t client = 0;
  uint32_t home = 0;
  uint64_t invoked_at = 0;
  uint64_t returned_at = kNever;  // kNever only if the outcome is unknown.
  std::string key;
  // Put: what it writes. Get that is ok: what it saw, nullopt: no such record. Else nullopt.
  absl::optional<std::string> value;
  // Delete that is ok: whether there was a record, if the client was told.
  absl::optional<bool> found;
  bool crossing = false;  // Put or Delete: see above.

  friend bool operator==(const Operation&, const Operation&) = default;
};

// The first cut later than this is the end of what a Put or Delete can do.
inline uint64_t BoundSince(const Operation& operation) {
  return operation.crossing ? operation.returned_at : operation.invoked_at;
}

struct Cut {
  uint32_t home = 0;
  uint64_t at = 0;

  friend bool operator==(const Cut&, const Cut&) = default;
};

struct History {
  std::vector<Operation> operations;
  std::vector<Cut> cuts;
};

// One line, without its end. Values of more than `value_bytes_max` are shortened, and then the line
// is for people only.
std::string ToText(const Operation& operation, size_t value_bytes_max = ~size_t{0});
std::string ToText(const Cut& cut);
std::string ToText(const History& history);

// The operation of one line of the text form. InvalidArgument: what is wrong with the line.
absl::StatusOr<Operation> ParseOperation(absl::string_view line);

// InvalidArgument: names the line and what is wrong with it.
absl::StatusOr<History> ParseHistory(absl::string_view text);

// Errors: those of the file system.
absl::Status SaveHistory(const History& history, const std::string& path);
absl::StatusOr<History> LoadHistory(const std::string& path);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_HISTORY_H_
