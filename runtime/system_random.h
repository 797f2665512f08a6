// Bytes that nobody can guess, from the kernel: for tokens, nonces and names. Main files and the
// client library hand this to whoever takes a `fill_random`; everything that must be repeatable
// takes a Random.

#ifndef ACRE_RUNTIME_SYSTEM_RANDOM_H_
#define ACRE_RUNTIME_SYSTEM_RANDOM_H_

#include <cstdint>

#include "absl/types/span.h"

namespace acre {

// Any thread. Blocks only in the first seconds after the machine's start.
void FillSystemRandom(absl::Span<uint8_t> bytes);

}  // namespace acre

#endif  // ACRE_RUNTIME_SYSTEM_RANDOM_H_
