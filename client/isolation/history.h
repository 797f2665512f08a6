// History: which transactions several clients asked a store for, and what they were told. The input of the
// isolation checker (checker.h), and its counter-examples.
//
// A transaction is a list of operations on keys. A key is a list that is only appended to, or a register that is
// written; both are absent at first. Each value is written to a key at most once, in the whole history: that is
// what lets a reader know whose write it saw.
//
// Order. Events, the invocations and returns of all transactions, have places in one order. Of two transactions
// the first came before the second if it returned at a smaller place than the second was invoked at; all others
// overlap. Whoever records by a clock calls OrderByTime(), for which the clock must be one that all clients share:
// virtual time in the simulator, CLOCK_MONOTONIC between processes of one machine.
//
// The text form is that of Jepsen and Elle, EDN: one map per event, in their order.
//
//   {:index 0, :type :invoke, :process 2, :time 100, :f :txn, :value [[:append 8 5] [:r 8 nil]]}
//   {:index 1, :type :ok, :process 2, :time 180, :f :txn, :value [[:append 8 5] [:r 8 [1 5]]]}
//
//   :type     :invoke; then :ok (it committed), :fail (it did not and never will) or :info (it may have, or may
//             yet, at any time after its invocation). An :invoke that nothing follows is an :info. When in doubt it
//             is :info: a wrong :fail is a false alarm.
//   :process  a client: one transaction at a time. Events whose :process is no integer are passed over.
//   :value    [:append KEY INTEGER] to a list, [:w KEY INTEGER] to a register, and [:r KEY SEEN]: [1 5] of a list,
//             7 of a register. nil is an absent key in an :ok, and `not told` in all other events. A return
//             names the same operations as the invocation, or (not in an :ok) has no :value.
//   KEY       an integer, a keyword, a symbol or a string.
//   :index    the place. All events have one, and it rises, or none has.
//   :time     in nanoseconds, for people.
//
// Other entries of the map are passed over, and so are tags and brackets around the whole.

#ifndef ACRE_CLIENT_ISOLATION_HISTORY_H_
#define ACRE_CLIENT_ISOLATION_HISTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre::isolation {

enum class OpKind : uint8_t { kRead, kWrite, kAppend };

// What a read was told.
enum class Seen : uint8_t {
  kUntold,
  kAbsent,  // No such key: of a list, the same as an empty one.
  kValue,
  kList,
};

struct Op {
  OpKind kind = OpKind::kRead;
  Seen seen = Seen::kUntold;  // Of reads only.
  uint32_t key = 0;           // Index into History::keys.
  int64_t value = 0;          // Written, or seen (kValue).
  std::vector<int64_t> list;  // Seen (kList).

  friend bool operator==(const Op&, const Op&) = default;
};

enum class Outcome : uint8_t { kCommitted, kAborted, kUnknown };

constexpr uint64_t kNever = ~uint64_t{0};

struct Transaction {
  Outcome outcome = Outcome::kUnknown;
  int64_t process = 0;
  uint64_t invoked_at = 0;  // Places among the events.
  uint64_t returned_at =
      kNever;  // kNever only if the outcome is unknown, and then it does not count.
  int64_t invoked_ns = 0;
  int64_t returned_ns = 0;
  std::vector<Op> ops;

  friend bool operator==(const Transaction&, const Transaction&) = default;
};

struct History {
  std::vector<std::string> keys;  // Their names, as EDN.
  std::vector<Transaction> transactions;
};

// Gives keys their numbers.
class KeyNames {
 public:
  // `history` outlives this, and gets the names.
  explicit KeyNames(History* history);
  uint32_t NumberOf(absl::string_view name);

 private:
  History* const history_;
  absl::flat_hash_map<std::string, uint32_t> numbers_;
};

// Gives all events places in the order of their times. At one moment invocations come before returns, so that
// those transactions overlap.
void OrderByTime(History* history);

// As EDN, for instance `[[:append 8 5] [:r 8 [1 5]]]`. Of a list that was seen with more than `elements_max`
// elements only the last ones are shown, and then the text is for people only.
std::string ToText(const History& history, const Op& op, size_t elements_max = ~size_t{0});
std::string ToText(const History& history, const std::vector<Op>& ops,
                   size_t elements_max = ~size_t{0});

// The whole, one event a line.
std::string ToText(const History& history);

// InvalidArgument: names the line and what is wrong with it.
absl::StatusOr<History> ParseHistory(absl::string_view text);

// Errors: those of the file system; of LoadHistory also those of ParseHistory, with the file's name.
absl::Status SaveHistory(const History& history, const std::string& path);
absl::StatusOr<History> LoadHistory(const std::string& path);

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_HISTORY_H_
