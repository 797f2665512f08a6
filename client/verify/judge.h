// Judging: from journals to a history, and to a verdict on one epoch.
//
// Epochs have no keys in common. So no dependency leads from one to another but through time, which
// goes forward only, and a cycle lies in one epoch: judging them one by one finds what judging the
// whole would (docs/isolation.md).

#ifndef ACRE_CLIENT_VERIFY_JUDGE_H_
#define ACRE_CLIENT_VERIFY_JUDGE_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/isolation/history.h"
#include "client/verify/journal.h"
#include "client/verify/plan.h"
#include "client/verify/record.h"

namespace acre::verify {

// What became of transactions.
struct Counts {
  uint64_t transactions = 0;
  uint64_t committed = 0;
  uint64_t failed = 0;
  uint64_t unknown = 0;  // Those that a killed process had under way included.
  uint64_t operations = 0;
  // Of those that failed: Aborted by phase (0: an attempt of RunTransaction(), which does not
  // tell), and all others by their status.
  std::array<uint64_t, kPhasesMax> aborts = {};
  std::map<absl::StatusCode, uint64_t> errors;

  void Add(const Counts& other);
};

// Puts the journals of one epoch together.
class HistoryBuilder {
 public:
  explicit HistoryBuilder(Epoch epoch);

  // In any order. DataLoss: it is no journal, or goes against the others.
  absl::Status Add(absl::Span<const uint32_t> journal);

  // Its events have the places from `first_place` on. Once.
  isolation::History Take(uint64_t first_place);
  // Of what was added, and complete after Take().
  const Counts& counts() const { return counts_; }

 private:
  absl::Status Invoke(const JournalEvent& event);
  absl::Status Return(const JournalEvent& event);
  uint32_t NumberOf(const KeyId& key);

  const Epoch epoch_;
  isolation::History history_;
  Counts counts_;
  absl::flat_hash_map<uint32_t, size_t> under_way_;  // Of each process: its transaction.
  std::vector<uint32_t> numbers_[2];  // Of each family: the keys' numbers in the history, from 1.
};

// The keys of the transactions that a journal has no return of, each once.
absl::StatusOr<std::vector<KeyId>> KeysUnderWay(absl::Span<const uint32_t> journal);

// The transactions of a finding, and those that wrote to the same keys what these saw: small enough
// to be read, and the checker finds the same in it as a rule.
isolation::History Excerpt(const isolation::History& history,
                           const std::vector<size_t>& transactions);

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_JUDGE_H_
