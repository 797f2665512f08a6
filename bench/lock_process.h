// A process of bench/locks, and how its parent, which takes no locks, talks to it: in messages over a socket pair
// (subprocess.h), one each way in turn:
//
//   open                                  "opened", and where its threads' peers connect to
//   connect, a line for each process      "connected": all its threads are, to all processes
//   keys                                  "keys", and a line for each thread of all processes: what was granted to it
//   attach, and all those lines, of all   "attached"
//     processes, a process each
//   run KIND LOCKS LOCALITY BEGIN END     "ran", and a line for each of its threads: a LockTotal
//   check                                 "checked" and two lines: how often its threads took each lock; and, of a
//                                         home, what the counters say that its locks guard. The first is an error
//                                         if a lock of the home is not free
//
// or "error", a status code and its message; it is then to be killed, since threads of it may wait for ever for
// somebody who is gone.

#ifndef ACRE_BENCH_LOCK_PROCESS_H_
#define ACRE_BENCH_LOCK_PROCESS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "bench/lock_load.h"

namespace acre::bench {

// Is process `number` of the load: does what the parent says, till it closes the socket. Dies with its parent. Does
// not return if something fails. Errors: DataLoss: the parent talks nonsense.
absl::Status ServeLockProcess(const LockLoadOptions& options, uint32_t number, int socket);

}  // namespace acre::bench

#endif  // ACRE_BENCH_LOCK_PROCESS_H_
