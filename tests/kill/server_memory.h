// The data regions of a kv_server, looked at from another process while nobody is at work on them.
//
// What is judged is a copy. Had somebody been at work after all, it may be torn, and then there are findings: who cannot
// be sure asks again, for as long as work that is under way may take.
//
// Threads: any. Requires: a server of this user, started by this process.

#ifndef ACRE_TESTS_KILL_SERVER_MEMORY_H_
#define ACRE_TESTS_KILL_SERVER_MEMORY_H_

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/checkers/table_invariants.h"

namespace acre::tests {

// All records of a server's table. Errors: Internal - what is wrong with its memory, for people: a lock that is not free,
// a slot that is half-written, and all else that checkers::CheckMemory() finds; or it cannot be read.
absl::StatusOr<checkers::Model> RecordsInMemory(pid_t server);

// What stands in the remote tails of the locks under which these keys' slots may lie, while all are at work: RemoteWords
// of acquisitions that are under way. Empty: there are none, or the server is just not there.
std::set<uint64_t> RemoteTails(pid_t server, const std::vector<std::string>& keys);

// Damage that is planted, to see that it is found.
enum class MemoryPlant : uint8_t {
  kLockLeft,      // A lock that somebody seems to hold by the fabric.
  kSlotLeft,      // A slot that somebody seems to write.
  kRecordBroken,  // A bit of a value that lies inline.
};
// Errors: Internal - it cannot be written. NotFound - there is no such record.
absl::Status PlantInMemory(pid_t server, MemoryPlant plant);

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_SERVER_MEMORY_H_
