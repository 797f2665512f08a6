#include "bench/lock_load.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace acre::bench {
namespace {

// Numbers of a total, in the order in which they travel.
std::array<uint64_t*, 13> NumbersOf(LockTotal* total) {
  auto& [own, others] = total->verbs;
  return {&total->operations[kOwnLock],
          &total->operations[kOthersLock],
          &total->run_ns,
          &own.reads,
          &own.writes,
          &own.atomics,
          &own.doorbells,
          &own.round_trips,
          &others.reads,
          &others.writes,
          &others.atomics,
          &others.doorbells,
          &others.round_trips};
}

}  // namespace

const char* TableLockName(TableLock kind) {
  switch (kind) {
    case TableLock::kALock:
      return "alock";
    case TableLock::kMcs:
      return "mcs";
    case TableLock::kSpin:
      return "spin";
    case TableLock::kTicket:
      return "ticket";
    case TableLock::kCpuSpin:
      return "cpu_spin";
    case TableLock::kNone:
      return "none";
  }
  return "?";
}

absl::StatusOr<std::vector<TableLock>> ParseTableLocks(absl::string_view text) {
  std::vector<TableLock> kinds;
  for (const absl::string_view name : absl::StrSplit(text, ',')) {
    absl::optional<TableLock> kind;
    for (size_t i = 0; i < kTableLocksCount; ++i) {
      if (name == TableLockName(static_cast<TableLock>(i))) kind = static_cast<TableLock>(i);
    }
    if (!kind.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", name, "\" is no kind of lock: alock, mcs, spin, ticket, cpu_spin, none"));
    }
    if (std::find(kinds.begin(), kinds.end(), *kind) != kinds.end()) {
      return absl::InvalidArgumentError(absl::StrCat(name, " stands there twice"));
    }
    kinds.push_back(*kind);
  }
  return kinds;
}

void LockTotal::Add(const LockTotal& other) {
  for (const size_t side : {kOwnLock, kOthersLock}) {
    operations[side] += other.operations[side];
    verbs[side] += other.verbs[side];
  }
  run_ns += other.run_ns;
  acquire_ns.Merge(other.acquire_ns);
}

std::string LockTotal::Serialize() const {
  std::string text;
  LockTotal copy = *this;
  for (const uint64_t* number : NumbersOf(&copy)) absl::StrAppend(&text, *number, " ");
  return absl::StrCat(text, acquire_ns.Serialize());
}

absl::optional<LockTotal> LockTotal::Parse(absl::string_view text) {
  LockTotal total;
  const auto numbers = NumbersOf(&total);
  const std::vector<absl::string_view> words =
      absl::StrSplit(text, absl::MaxSplits(' ', static_cast<int>(numbers.size())));
  if (words.size() != numbers.size() + 1) return {};
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!absl::SimpleAtoi(words[i], numbers[i])) return {};
  }
  absl::optional<Histogram> acquire_ns = Histogram::Parse(words.back());
  if (!acquire_ns.has_value()) return {};
  total.acquire_ns = *std::move(acquire_ns);
  return total;
}

}  // namespace acre::bench
