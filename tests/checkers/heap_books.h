// The part of the table's invariants that is about its heap: all memory is somewhere, and once.

#ifndef ACRE_TESTS_CHECKERS_HEAP_BOOKS_H_
#define ACRE_TESTS_CHECKERS_HEAP_BOOKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kvs/segment.h"
#include "tests/checkers/table_invariants.h"

namespace acre::checkers {

// Memory of the heap that the table names: an object, rounded up to what it takes, or an overflow bucket.
struct Claim {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool is_overflow_bucket = false;
  std::string name;
};

// Whether the table names some of it twice: what can be seen without the heap's books.
void CheckClaims(std::vector<Claim> claims, std::vector<Finding>* findings);

// Compares what the table names with the heap's books (kvs::Heap::CopyOfBooks). Every byte is one of:
// claimed, free, resting, slack.
void CheckHeap(kvs::Segment* segment, const std::vector<Claim>& claims,
               std::vector<Finding>* findings);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_HEAP_BOOKS_H_
