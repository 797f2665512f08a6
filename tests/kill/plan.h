// Plan: what a round does to the servers and to the clients, drawn from a seed before it begins.
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
  kFrozen,  // SIGSTOP, and SIGCONT once all servers have been back for a while: a zombie.
};
const char* NameOf(ServerFate fate);
const char* NameOf(ClientFate fate);
// Whether another server takes its place.
bool EndsServer(ServerFate fate);

// One thing that is done, at a time.
enum class BlowKind : uint8_t {
  kFreezeClient,  // SIGSTOP.
  kKillClient,    // SIGKILL, and another one starts.
  kFreezeServer,  // SIGSTOP.
  kThawServer,    // SIGCONT.
  kTellServer,    // SIGTERM, and nobody waits.
  kStopServer,    // SIGTERM, and its end is waited for.
  kKillServer,    // SIGKILL.
  kLaunchServer,  // The next one starts; nobody waits till it listens.
};
struct Blow {
  int64_t at_us = 0;
  BlowKind kind = BlowKind::kFreezeClient;
  size_t place = 0;  // Of the client or server.
};

struct Plan {
  struct Client {
    ClientFate fate = ClientFate::kLives;
    int64_t at_us = 0;
  };
  struct Server {
    ServerFate fate = ServerFate::kLives;
    int64_t at_us = 0;
    int64_t between_us = 0;  // The two blows that some fates consist of.
    // Of the next one in its place.
    int64_t down_us = 0;  // How long there is none, before its start.
    bool death_marks = true;
    int64_t lease_ms = 500;
    int threads = 1;
  };

  int64_t load_us = 0;  // Work before anything happens; the times of blows count from its end.
  std::vector<Server> servers;
  std::vector<Client> clients;
  int64_t aftermath_us = 0;  // Work before the frozen clients go on.

  // Each server has a fate of its own. The first `immortals` of the clients are not killed. `is_trusted`: more clients
  // are frozen, now and then for longer than a server waits for one that holds up others.
  static Plan Draw(size_t servers, size_t clients, size_t immortals, bool is_trusted,
                   Random* random);
  // All that is done, in its order.
  std::vector<Blow> Blows() const;
  // One line; servers are named by their numbers, from 1 on.
  std::string ToText() const;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_PLAN_H_
