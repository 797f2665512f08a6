// TxnCrew: the threads of bench/txn, which run slices together.
//
// Threads: all calls from one. Its own threads wait at a barrier between slices.

#ifndef ACRE_BENCH_TRANSACTIONS_CREW_H_
#define ACRE_BENCH_TRANSACTIONS_CREW_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/transactions/driver.h"
#include "bench/transactions/workload.h"
#include "client/client.h"

namespace acre::bench {

struct TxnCrewOptions {
  ClientOptions client;
  uint32_t threads_max = 1;
  uint32_t outstanding_max = 1;  // Of each thread.
  uint64_t seed = 1;
};

struct TxnSlice {
  uint32_t threads = 1;  // The others wait.
  uint32_t outstanding = 1;
  uint64_t run_ns = 0;
};

class TxnCrew {
 public:
  virtual ~TxnCrew() = default;

  // Connects all threads. `workload` outlives the crew. Errors: what kept a client from connecting.
  static absl::StatusOr<std::unique_ptr<TxnCrew>> Start(const TxnCrewOptions& options,
                                                        const TxnWorkload* workload);
  // One for each thread that took part.
  virtual std::vector<TxnTotals> Run(const TxnSlice& slice) = 0;
  // Transactions that failed, all slices together. The first few stand on stderr.
  virtual uint64_t errors() const = 0;
  // What was picked.
  virtual Path path() const = 0;
  virtual std::string fabric() const = 0;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_CREW_H_
