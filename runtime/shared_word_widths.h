// The ways in which CopyFromShared can load a cache line, one by one: for tests and benchmarks,
// which compare them. Everybody else calls CopyFromShared.

#ifndef ACRE_RUNTIME_SHARED_WORD_WIDTHS_H_
#define ACRE_RUNTIME_SHARED_WORD_WIDTHS_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "runtime/shared_word.h"

namespace acre {

struct SharedCopyWidth {
  size_t load_bytes;  // 8: word by word.
  // As CopyFromShared with kAscending.
  void (*copy)(uint64_t* to, const SharedWord* from, size_t words);
};

// What this machine can do, the narrowest first; the last is what CopyFromShared uses, unless built
// for asan or tsan, which see word by word only.
absl::Span<const SharedCopyWidth> SharedCopyWidths();

}  // namespace acre

#endif  // ACRE_RUNTIME_SHARED_WORD_WIDTHS_H_
