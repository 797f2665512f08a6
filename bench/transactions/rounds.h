// The experiment of bench/txn: loads (numbers of threads, and of transactions outstanding on each) and, if it is asked for,
// Redis take turns in short slices, several rounds over all of them, on the same processes and connections. What is
// told of rates is the median over the rounds, a ratio is the median of the ratios within rounds; all else is of all rounds
// together.

#ifndef ACRE_BENCH_TRANSACTIONS_ROUNDS_H_
#define ACRE_BENCH_TRANSACTIONS_ROUNDS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "bench/histogram.h"
#include "bench/transactions/crew.h"
#include "bench/transactions/driver.h"
#include "bench/transactions/redis.h"
#include "client/client.h"
#include "transport/fabric.h"

namespace acre::bench {

struct TxnRoundsOptions {
  std::vector<uint64_t> threads = {};      // Each of them
  std::vector<uint64_t> outstanding = {};  // with each of these: a row.
  uint32_t rounds = 5;
  double seconds = 5;  // Of each row, in all rounds together.
  double warmup_seconds = 0.5;
  bool progress = false;  // Tell on stderr.
};

// A load, over all rounds.
struct TxnRow {
  uint32_t threads = 1;
  uint32_t outstanding = 1;
  std::vector<double> commits_per_second = {};  // One for each round.
  TxnTotals total;                              // Of all threads.
  std::vector<uint64_t> committed = {};         // By thread.
  transport::VerbCounters server_verbs = {};    // Of all servers.
};

struct RedisRow {
  RedisWay way = RedisWay::kPipelined;
  std::vector<double> commits_per_second = {};  // One for each round.
  uint64_t committed = 0;
  Histogram latency_ns = {};
};

struct TxnResults {
  std::vector<TxnRow> rows;
  std::vector<RedisRow> redis;  // None: it was not asked for.
  // Of all that ran, warm-ups too: by how much the audit must have changed.
  int64_t audit_change = 0;
};

// `redis`: null if it does not take part. `observer` asks the servers what they did: it counts nothing itself, so it goes
// over a socket. Errors: Redis's; those of asking the servers.
absl::StatusOr<TxnResults> RunTxnRounds(const TxnRoundsOptions& options,
                                        const TxnWorkload& workload, TxnCrew* crew,
                                        Client* observer, RedisTransfer* redis);

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_ROUNDS_H_
