// Table invariants: what must be true of a segment's memory when nobody is at work on it.
//
// Every word is looked at, by this file's own walk and not by the owner's functions; then each key is
// looked up by the mapped reader's rules (kvs/segment_view.h). The table is judged against a model:
// the records that it must hold, all of them and no others.
//
// Threads: one, while nobody changes the segment and nobody waits for its locks.

#ifndef ACRE_TESTS_CHECKERS_TABLE_INVARIANTS_H_
#define ACRE_TESTS_CHECKERS_TABLE_INVARIANTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "kvs/segment.h"
#include "kvs/table.h"
#include "tests/checkers/segment_walk.h"

namespace acre::checkers {

enum class Damage : uint8_t {
  kHeader,              // The segment's header is not what its owner wrote.
  kIdentity,            // A bucket's identity is another segment's.
  kLockHeld,            // A lock is held, or its words make no sense.
  kOddStructure,        // A structure version is odd.
  kOddFloor,            // A floor is no version that a record had.
  kSpareBucket,         // The spare bucket is somebody's home.
  kTornSlot,            // A slot's first and last words differ.
  kOddSlot,             // A slot is odd.
  kBadSlot,             // A slot's kind, lengths or flags make no sense.
  kBadObject,           // An object is out of bounds, or not what its slot says.
  kMisplaced,           // A record is not in its home's neighbourhood or chain, or its flag lies.
  kTags,                // A home's tags do not say what its slots hold.
  kBadChain,            // A chain leaves the heap, or an overflow bucket's words are wrong.
  kSharedBucket,        // An overflow bucket is in two chains, or twice in one.
  kEmptyBucket,         // An overflow bucket in a chain holds nothing.
  kFreeBucketNotEmpty,  // An overflow bucket that is free holds something.
  kKeyTwice,            // A key is in two slots.
  kUnknownKey,          // A key that the model lacks.
  kWrongValue,          // A key with another value than the model's.
  kMissingKey,          // A key of the model is in no slot.
  kUnreachable,   // A key of the model that a mapped lookup does not find, or with another value.
  kRecordsCount,  // The owner's count of records is wrong.
  kHeapTwice,     // Memory of the heap is in two places at once.
  kHeapLeak,      // Memory of the heap is in none.
  kHeapKind,      // An overflow bucket in memory of objects, or an object in memory of buckets.
  kHeapStats,     // The heap's statistics are wrong.
};
absl::string_view NameOf(Damage damage);

struct Finding {
  Damage damage;
  std::string what;  // Where, and what is wrong there.
};

using Model = std::map<std::string, std::string>;

// Empty: all is well. No more than kFindingsMax.
constexpr size_t kFindingsMax = 50;
std::vector<Finding> CheckSegment(kvs::Segment* segment, const Model& model);
// Of memory alone, while the owner's own books are out of reach, as those of another process are: all of the above but
// the header, the owner's count and what of the heap no record names. `records`: what it holds, and can be looked up there.
std::vector<Finding> CheckMemory(const SegmentMemory& memory, Model* records);
// All segments of a table, each against its part of the model.
std::vector<Finding> CheckTable(const kvs::Table& table, const Model& model);

// One line each.
std::string ToText(const std::vector<Finding>& findings);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_TABLE_INVARIANTS_H_
