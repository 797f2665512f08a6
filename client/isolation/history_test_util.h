// Histories for the tests of the isolation checker: written by hand, or told by a simulated store of a known
// level; and a judge of small ones that is too simple to be wrong.

#ifndef ACRE_CLIENT_ISOLATION_HISTORY_TEST_UTIL_H_
#define ACRE_CLIENT_ISOLATION_HISTORY_TEST_UTIL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/isolation/checker.h"
#include "client/isolation/history.h"

namespace acre::isolation {

constexpr int kAuto = -1;

// A transaction by hand.
struct Told {
  std::string ops;  // As EDN.
  Outcome outcome = Outcome::kCommitted;
  // Places of the events. kAuto: from 100 on to 1000 on, so that all of these overlap.
  int invoked_at = kAuto;
  int returned_at = kAuto;
  int process = kAuto;  // kAuto: one of its own.
};
History HistoryOf(const std::vector<Told>& told);

// Shorthands: committed, from one place to another.
inline Told At(int invoked_at, int returned_at, std::string ops, int process = kAuto) {
  return {std::move(ops), Outcome::kCommitted, invoked_at, returned_at, process};
}
inline Told Aborted(std::string ops) { return {std::move(ops), Outcome::kAborted}; }
inline Told Unknown(std::string ops) { return {std::move(ops), Outcome::kUnknown}; }

// What Check() found, by name, in its order.
std::vector<std::string> NamesOf(const Report& report);

// How the simulated store treats a transaction.
enum class StoreKind : uint8_t {
  kStrict,  // All at one moment between its invocation and its return.
  kSnapshot,  // Reads at one moment, writes at a later one, unless somebody else wrote the same key between.
  kCommitted,  // Each read at a moment of its own, all writes at one.
};

struct SimulatedHistory {
  StoreKind kind = StoreKind::kStrict;
  uint32_t processes = 4;
  uint32_t transactions = 50;
  uint32_t keys = 3;
  uint32_t ops_max = 4;
  uint64_t duration_max = 20;     // Of a transaction; a process's pauses are as long.
  uint32_t register_percent = 0;  // Of the keys.
  uint32_t read_percent = 50;
  uint32_t aborted_percent = 10;
  uint32_t unknown_percent = 10;  // Half of them happen, at any time after their invocation.
  uint32_t told_percent = 50;     // Of the aborted: they tell what they saw, which stood together.
  uint32_t writes_per_key = 20;   // Then the next key takes its place.
};
History Simulate(const SimulatedHistory& options, uint64_t seed);

// Tries all orders of the transactions that committed, and of those of unknown outcome also all ways to leave them
// out; for kOpaque, aborted ones have a place, too, where they see and leave nothing behind. For a handful, and for
// kSerializable, kStrictSerializable and kOpaque.
bool IsKeptByTrial(const History& history, Level level);

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_HISTORY_TEST_UTIL_H_
