// Janitor: a short-lived process that looks after keys: that those of a killed process can be read
// and written soon, that all of an epoch are read once more in the end, and that nothing of a run
// stays behind.

#ifndef ACRE_CLIENT_VERIFY_JANITOR_H_
#define ACRE_CLIENT_VERIFY_JANITOR_H_

#include <cstdint>
#include <vector>

#include "client/client.h"
#include "client/verify/board.h"
#include "client/verify/plan.h"
#include "client/verify/record.h"

namespace acre::verify {

struct JanitorOptions {
  ClientOptions client;
  PlanOptions plan;
  Epoch epoch;
  size_t seat = 0;          // Its journal and its failure.
  int64_t recovery_ms = 0;  // A key that cannot be read and written for so long is locked for good.
  bool deletes = true;      // At the end of an epoch, its keys.
};

// Exit codes of its processes.
constexpr int kJanitorDone = 0;
constexpr int kJanitorFoundLock = 1;  // The seat's failure says at which key.
constexpr int kJanitorFailed = 2;     // It could not do its work; as above.

// In a transaction each, reads these keys and writes back what they had, which changes nothing.
// Tells the parent how long after `killed_ns` (CLOCK_MONOTONIC) the last of them was done. Nothing
// of it is in the history.
int ProbeKeys(const JanitorOptions& options, const std::vector<KeyId>& keys, uint64_t killed_ns,
              Board* board);

// Reads all keys of the epoch, once more and for the history: what was written last is seen by
// somebody. Then deletes them.
int EndEpoch(const JanitorOptions& options, Board* board);

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_JANITOR_H_
