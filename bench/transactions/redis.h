// RedisTransfer: the transfers of transfer.h asked of a redis-server that this starts, in two ways:
//
//   pipelined   16 connections, one transaction under way on each: MULTI, GET, GET, SET, SET, EXEC in one write
//   one by one  one connection, each of the six commands waits for the answer to the one before
//
// What is written does not depend on what was read: commands between MULTI and EXEC are answered by EXEC. So no sum is
// kept; a user would need WATCH, and more round trips. Keys and values are as long as ours, the server keeps nothing
// on disk, and one thread asks it through hiredis, as one thread of ours runs transactions.
//
// Threads: as bench/transactions/program.h.

#ifndef ACRE_BENCH_TRANSACTIONS_REDIS_H_
#define ACRE_BENCH_TRANSACTIONS_REDIS_H_

#include <hiredis/hiredis.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/histogram.h"
#include "bench/transactions/program.h"
#include "bench/transactions/workload.h"
#include "runtime/clock.h"
#include "runtime/random.h"

namespace acre::bench {

enum class RedisWay { kPipelined, kOneByOne };
constexpr RedisWay kRedisWays[] = {RedisWay::kPipelined, RedisWay::kOneByOne};
// "redis, pipelined", "redis, one by one".
const char* RedisWayName(RedisWay way);
constexpr uint32_t kRedisConnections = 16;
uint32_t RedisConnections(RedisWay way);

class RedisTransfer {
 public:
  struct Result {
    uint64_t committed = 0;
    uint64_t run_ns = 0;
    Histogram latency_ns;
  };

  // Starts the server, loads the accounts and connects. NotFound: there is no redis-server, the message says what to
  // install. `clock` outlives it.
  static absl::StatusOr<std::unique_ptr<RedisTransfer>> Start(const UnitChoice& choice,
                                                              Clock* clock);
  // Errors: Unavailable - the connection broke; Internal - an answer is none to what was asked.
  absl::StatusOr<Result> Run(RedisWay way, uint64_t run_ns);

 private:
  struct FreeContext {
    void operator()(redisContext* context) const { redisFree(context); }
  };
  struct Connection {
    std::unique_ptr<redisContext, FreeContext> context;
    uint32_t answers_left = 0;  // Of the transaction that is under way.
    uint64_t begin_ns = 0;
  };

  RedisTransfer(const UnitChoice& choice, Clock* clock)
      : choice_(choice), keys_(choice.servers_count), clock_(clock), random_(/*seed=*/1) {}

  absl::Status StartServer();
  absl::Status Connect(const std::string& host, int port);
  absl::Status Load();
  // The commands of one transaction.
  using Commands = std::vector<std::vector<std::string>>;
  Commands NextTransaction();
  absl::Status Append(redisContext* context, const std::vector<std::string>& command);
  absl::Status Flush(redisContext* context);
  absl::Status Begin(Connection* connection);
  // Takes the answers that have come. True: the transaction has ended.
  absl::StatusOr<bool> TakeAnswers(Connection* connection);
  // Judges one, and frees it.
  absl::Status TakeAnswer(redisContext* context, void* answer, bool is_last);
  absl::Status RunPipelined(uint64_t end_ns, Result* result);
  absl::Status RunOneByOne(uint64_t end_ns, Result* result);

  const UnitChoice choice_;
  const TxnKeys keys_;
  Clock* const clock_;
  Random random_;
  std::unique_ptr<ScratchFolder> folder_;
  std::unique_ptr<Program> server_;
  std::vector<Connection> connections_;
};

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_REDIS_H_
