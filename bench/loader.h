// Loads the records of a benchmark: numbers 0 to count - 1, sequence 0.

#ifndef ACRE_BENCH_LOADER_H_
#define ACRE_BENCH_LOADER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "client/client.h"

namespace acre::bench {

struct LoadOptions {
  ClientOptions client;  // Its path carries the Puts: kRpc or kTcp.
  uint64_t records_count = 0;
  size_t key_bytes = 16;
  size_t value_bytes = 32;
  uint32_t threads = 1;
  uint32_t outstanding = 64;  // Puts under way at once, of each thread.
};

// Puts all records, with a line of progress each second on stderr. The first error ends it.
absl::Status LoadRecords(const LoadOptions& options);

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOADER_H_
