// Plan: what a round does to the server and to the clients, drawn from a seed before it begins.
//
// The seed decides what is done and after which times. What it meets is the machine's doing: the same seed
// makes the same script, not the same run.

#ifndef ACRE_TESTS_KILL_PLAN_H_
#define ACRE_TESTS_KILL_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/random.h"

namespace acre::tests {

enum class ServerFate : uint8_t {
  kLives,
  kFrozen,          // SIGSTOP, and SIGCONT after some time.
  kStopped,         // SIGTERM, and it ends by itself.
  kKilled,          // SIGKILL.
  kKilledStopping,  // SIGTERM, and SIGKILL soon after.
  kKilledFrozen,    // SIGSTOP, and SIGKILL after some time.
  kKilledStarting,  // SIGKILL, and the next one gets it while it starts.
};
enum class ClientFate : uint8_t {
  kLives,
  kKilled,  // SIGKILL; another process takes its place at once.
  kFrozen,  // SIGSTOP, and SIGCONT once the server has been back for a while: a zombie.
};
const char* NameOf(ServerFate fate);
const char* NameOf(ClientFate fate);
// Whether another server takes its place.
bool EndsServer(ServerFate fate);

struct Plan {
  struct Client {
    ClientFate fate = ClientFate::kLives;
    int64_t at_us = 0;
  };

  int64_t load_us = 0;  // Work before anything happens; the times below count from its end.
  ServerFate server = ServerFate::kLives;
  int64_t server_at_us = 0;
  int64_t between_us = 0;  // The two blows that some fates consist of.
  std::vector<Client> clients;

  // Of the next server.
  int64_t down_us = 0;  // How long there is none, before its start.
  bool death_marks = true;
  int64_t lease_ms = 0;
  int threads = 1;

  int64_t aftermath_us = 0;  // Work before the frozen clients go on.

  // The first `immortals` of the clients are not killed.
  static Plan Draw(size_t clients, size_t immortals, Random* random);
  // One line.
  std::string ToText() const;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_PLAN_H_
