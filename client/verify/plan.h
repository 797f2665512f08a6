// Plans: which transactions kv_verify runs. Lists that are appended to and registers that are
// written, a few of each at a time, so that transactions meet on them; after so many writes a key
// makes way for a fresh one.
//
// Every value is written to its key once, whoever draws it: a write takes the next number of its
// place among the keys (KeyCounters), and that number tells both the key and the value. No two
// threads or processes need to agree on anything else, and one that dies leaves a gap at most.
//
// Threads: a PlanSource is confined to one; KeyCounters are shared by all threads and processes of
// a run.

#ifndef ACRE_CLIENT_VERIFY_PLAN_H_
#define ACRE_CLIENT_VERIFY_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "client/isolation/history.h"
#include "runtime/random.h"
#include "runtime/shared_word.h"

namespace acre::verify {

enum class Family : uint8_t { kList, kRegister };

// A key of one epoch.
struct KeyId {
  Family family = Family::kList;
  uint32_t number = 0;

  friend bool operator==(const KeyId&, const KeyId&) = default;
};

// A list whose record changes its place at each append: it is deleted from the one and put into the
// other, so that deletes and misses are part of what is judged. Who sees it in neither place, or in
// both, saw what never was.
constexpr bool IsMoving(const KeyId& key) {
  return key.family == Family::kList && key.number % 4 == 3;
}

struct PlannedOp {
  isolation::OpKind kind = isolation::OpKind::kRead;
  KeyId key;
  uint32_t value = 0;  // Written or appended: from 1.
};

// How a transaction asks for its operations.
enum class Way : uint8_t {
  kOnce,     // Begin() and Commit(), one attempt.
  kRetried,  // RunTransaction(): each attempt is a transaction with values of its own.
  kPlain,    // No transaction: a Get or Put, as a transaction of one operation.
};

struct Plan {
  Way way = Way::kOnce;
  bool reads_at_once = false;  // The reads that it begins with are one MultiGet.
  bool pauses = false;         // Others run between its operations.
  std::vector<PlannedOp> ops;
};

struct PlanOptions {
  bool lists = true;
  bool registers = true;
  uint32_t keys = 16;            // Of each family at a time; from 1.
  uint32_t writes_per_key = 32;  // From 1 to kWritesPerKeyMax; then a fresh key takes the place.
  uint32_t ops_max = 6;          // Of a transaction; from 1.
  uint32_t plain_percent = 10;
  uint32_t retried_percent = 25;
  uint32_t read_only_percent = 25;
};
constexpr uint32_t kWritesPerKeyMax = 1024;

// How many writes were drawn for each place among the keys, in shared memory. Relaxed: a number is
// drawn once, and nothing else hangs on it.
class KeyCounters {
 public:
  static constexpr size_t WordsFor(uint32_t keys) { return 2 * size_t{keys}; }

  // `words`: WordsFor(options.keys), which outlive this. Zeros begin an epoch.
  KeyCounters(const PlanOptions& options, absl::Span<SharedWord> words)
      : options_(options), words_(words) {}

  // The next write of a place among the keys.
  PlannedOp DrawWrite(Family family, uint32_t place);
  // The key that has the place now.
  KeyId Current(Family family, uint32_t place) const;
  // All keys that there have been, or may have been: what is drawn meanwhile may be missing.
  std::vector<KeyId> AllKeys() const;

 private:
  SharedWord& WordOf(Family family, uint32_t place) const {
    return words_[place + (family == Family::kRegister ? options_.keys : 0)];
  }

  const PlanOptions options_;
  const absl::Span<SharedWord> words_;
};

// Threads: one.
class Plans {
 public:
  virtual ~Plans() = default;
  // Replaces *plan. False: there is nothing more to do.
  virtual bool Draw(Plan* plan) = 0;
  // Another attempt of it: the same operations, with values of their own.
  virtual void DrawAgain(Plan* plan) = 0;
};

// Random ones, without end. Another attempt goes to the keys that have the places then.
class PlanSource : public Plans {
 public:
  // `counters` outlive this.
  PlanSource(const PlanOptions& options, KeyCounters* counters, uint64_t seed);

  bool Draw(Plan* plan) override;
  void DrawAgain(Plan* plan) override;

 private:
  bool Chance(uint32_t percent) { return random_.Uniform(100) < percent; }
  uint32_t DrawPlace();
  Family DrawFamily(uint32_t mix);
  PlannedOp DrawRead(Family family);
  void DrawPlain(Plan* plan);

  const PlanOptions options_;
  KeyCounters* const counters_;
  Random random_;
};

// Reads each of these keys once, some at a time: the end of an epoch.
class ReadEach : public Plans {
 public:
  explicit ReadEach(std::vector<KeyId> keys) : keys_(std::move(keys)) {}

  bool Draw(Plan* plan) override;
  void DrawAgain(Plan*) override {}

 private:
  const std::vector<KeyId> keys_;
  size_t next_ = 0;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_PLAN_H_
