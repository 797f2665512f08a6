// StepSearch: is there an order of these steps on one register that obeys their times?
//
// A step may happen at one moment of its interval, needs something of the register at that moment,
// and may write it. linearizability.h turns the operations on a key into steps.
//
// The search goes through the steps in the order of time and undoes its choices when it is stuck
// (Wing and Gong 1993), remembers which sets of steps it has been at with which value (Lowe 2017),
// and takes no way that another one stands for:
//   - A step that writes nothing is taken as soon as it can be: later is never better.
//   - Of steps with the same effect, the one whose interval ends first: they can change places.
//   - A step that may be left out, only if the one behind it needs what it writes.
//   - No value is overwritten for good while a step still needs it.
// With values that are written once each, and reads that name them, what is left is nearly a
// straight line, whatever the number of steps with unknown outcomes.
//
// A set of steps is remembered as the XOR of one random 128-bit number for each of its steps, not as
// its bits: as good as exact (two of n sets collide with probability n^2 / 2^129), and it costs the
// same for a hundred steps and for a million. A collision could turn yes into no, never no into yes.

#ifndef ACRE_TESTS_CHECKERS_STEP_SEARCH_H_
#define ACRE_TESTS_CHECKERS_STEP_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"

namespace acre::checkers {

enum class Verdict : uint8_t { kOk, kViolation, kTooHard };

// What a register holds. Others: values, numbered from 1 without gaps.
constexpr int32_t kAbsent = 0;
// In `needs` only.
constexpr int32_t kAnything = -1;
constexpr int32_t kPresent = -2;
// In `writes` only.
constexpr int32_t kNothing = -1;

struct Step {
  uint64_t from = 0;  // The step lies in [from, to]; a before b if a.to < b.from.
  uint64_t to = 0;
  int32_t needs = kAnything;
  int32_t writes = kNothing;
  bool optional = false;  // It may be left out. Then it needs kAnything, and writes.
  size_t source = 0;      // For the caller.
};

class StepSearch {
 public:
  // The register is absent at first. `steps` outlives the search.
  explicit StepSearch(absl::Span<const Step> steps);

  // kTooHard: `work_max` looks at a step did not decide it.
  Verdict Run(uint64_t work_max);
  uint64_t work() const { return work_; }

  // The longest order that was found. Kept if asked for before Run(), which then looks further than it
  // must.
  void KeepLongest() { keep_longest_ = true; }
  const std::vector<size_t>& longest() const { return longest_; }

 private:
  using SetHash = std::pair<uint64_t, uint64_t>;
  // A place where the search chose. Its candidates lie in candidates_[next, end).
  struct Choice {
    size_t begin;
    size_t next;
    size_t end;
    size_t taken_count;
    int32_t state;
    uint64_t latest_from;
  };

  void LinkEvents();
  bool IsSatisfied(int32_t needs) const;
  void Take(size_t step);
  void Untake();
  void TakeReads();
  void AddCandidates();
  void AddOptionalCandidates(uint64_t first_to);
  void DropDominated(size_t begin);
  bool NextChoice();

  // Events of mandatory steps that are not taken, in the order of time: a doubly linked list, so that
  // taking a step and undoing it in reverse order cost the same small time. Node 0 is its head, 2i + 1 the
  // begin of step i's interval, 2i + 2 its end.
  static size_t FromNode(size_t step) { return 2 * step + 1; }
  static size_t StepOf(size_t node) { return (node - 1) / 2; }
  static bool IsFrom(size_t node) { return node % 2 == 1; }
  void Unlink(size_t node);
  void Relink(size_t node);

  const absl::Span<const Step> steps_;
  std::vector<size_t> next_;
  std::vector<size_t> previous_;
  std::vector<size_t> optional_;  // Steps, by the begin of their intervals.
  std::vector<bool> is_taken_;
  std::vector<SetHash> hashes_;       // Of each step.
  std::vector<int32_t> needs_left_;   // Of each value: steps not taken that need it.
  std::vector<int32_t> writes_left_;  // Of each value: steps not taken that write it.
  std::vector<uint64_t> wanted_by_;   // Of each value: see AddCandidates().
  int32_t present_needs_ = 0;

  std::vector<size_t> taken_;
  size_t mandatory_left_ = 0;
  int32_t state_ = kAbsent;
  uint64_t latest_from_ = 0;  // Of the steps taken: no step whose interval ended before may follow.
  SetHash hash_ = {0, 0};
  std::vector<Choice> choices_;
  std::vector<size_t> candidates_;
  absl::flat_hash_set<std::pair<SetHash, int32_t>> seen_;

  uint64_t work_ = 0;
  bool keep_longest_ = false;
  std::vector<size_t> longest_;
};

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_STEP_SEARCH_H_
