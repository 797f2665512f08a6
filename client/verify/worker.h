// Worker: one process of the load: threads with a client each, which take part in epoch after
// epoch.

#ifndef ACRE_CLIENT_VERIFY_WORKER_H_
#define ACRE_CLIENT_VERIFY_WORKER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "client/client.h"
#include "client/verify/board.h"
#include "client/verify/plan.h"
#include "client/verify/store.h"

namespace acre::verify {

struct WorkerOptions {
  ClientOptions client;
  PlanOptions plan;
  std::string prefix;  // Of all keys.
  uint32_t threads = 1;
  uint32_t outstanding = 8;       // Transactions that a thread has under way.
  uint64_t transactions_max = 0;  // Of an epoch, all workers together.
  uint64_t seed = 0;  // Of this process: another one for one that takes a dead one's place.
};

// The epoch that ends the work.
constexpr uint32_t kEndOfEpochs = UINT32_MAX;

// Calls of `client`, which outlives it.
std::unique_ptr<Store> StoreOf(AsyncClient* client);

// Runs a process's threads, in the seats from `first_seat` on, till kEndOfEpochs. Gives the exit
// code: 0, or 1 if a thread could not connect: its seat says why.
int RunWorker(const WorkerOptions& options, Board* board, size_t first_seat);

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_WORKER_H_
