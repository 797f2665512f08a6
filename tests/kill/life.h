// Life: what some rounds are played on, drawn from a seed before they begin: how many servers, whether they and
// their clients prove a secret, and how each client reaches them.

#ifndef ACRE_TESTS_KILL_LIFE_H_
#define ACRE_TESTS_KILL_LIFE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "client/client.h"
#include "runtime/random.h"

namespace acre::tests {

constexpr size_t kLifeServersMax = 3;

// How a client reaches the servers.
enum class Reach : uint8_t {
  kShm,     // --fabric=shm
  kTcp,     // --fabric=tcp
  kAuto,    // --fabric=auto
  kSocket,  // --path=tcp: no fabric.
};
constexpr size_t kReaches = 4;
const char* NameOf(Reach reach);
// As ClientOptions::fabric has it.
const char* FabricOf(Reach reach);

struct Life {
  struct Client {
    Reach reach = Reach::kAuto;
    Path path = Path::kAuto;  // One that exists there.
  };

  size_t servers = 1;
  bool has_cluster_file = false;  // Always, if there are several servers.
  bool has_secret = false;
  bool is_mixed = false;  // All ways to reach a server at the same time; else one for all clients.
  std::vector<Client> clients;  // By place: who takes a killed one's place goes the same way.

  // `servers`: so many, or 0: drawn.
  static Life Draw(size_t servers, size_t clients, Random* random);
  // "2 servers in a cluster"
  std::string ServersText() const;
  // "clients by fabric shm", "clients by all ways"
  std::string ClientsText() const;
  // One line.
  std::string ToText() const;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_LIFE_H_
