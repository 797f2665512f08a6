// Life: what some rounds are played on, drawn from a seed before they begin: how many servers, whether they and
// their clients prove a secret, whether clients may write by themselves (docs/updates.md), and how each reaches them.

#ifndef ACRE_TESTS_KILL_LIFE_H_
#define ACRE_TESTS_KILL_LIFE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
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

// Whether servers let clients write their memory, and by which fabric: the one that makes the memory.
enum class Trust : uint8_t {
  kNone,
  kShm,  // Of these each may be killed by a server that cannot be sure of it otherwise (server/lock_home.h).
  kTcp,  // Servers offer no other fabric.
};
constexpr size_t kTrusts = 3;
// "none", "shm", "tcp".
const char* NameOf(Trust trust);
absl::StatusOr<Trust> ParseTrust(absl::string_view name);

struct Life {
  struct Client {
    Reach reach = Reach::kAuto;
    Path path = Path::kAuto;  // One that exists there.
    PutPath put_path = PutPath::kAuto;
  };

  size_t servers = 1;
  bool has_cluster_file = false;  // Always, if there are several servers.
  bool has_secret = false;
  Trust trust = Trust::kNone;
  bool is_mixed = false;  // All ways to reach a server at the same time; else one for all clients.
  std::vector<Client> clients;  // By place: who takes a killed one's place goes the same way.

  // What is left open is drawn.
  struct Fixed {
    size_t servers = 0;  // 0: open.
    absl::optional<Trust> trust;
  };
  static Life Draw(const Fixed& fixed, size_t clients, Random* random);
  // Whether this client may put one-sided.
  bool IsWriter(size_t place) const;
  // Whether a server may kill it, when it has stood still for a while or its connection broke.
  bool MayBeKilledByServers(size_t place) const;
  // "2 servers in a cluster"
  std::string ServersText() const;
  // "without trust", "with trust by fabric shm"
  std::string TrustText() const;
  // "clients by fabric shm", "clients by all ways"
  std::string ClientsText() const;
  // One line.
  std::string ToText() const;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_LIFE_H_
