// As ways_trusted_shm.cc, between two cards. Puts by RPC are ways_over_verbs.cc's: there is a lease there, too.

#include "tests/ways.h"

namespace acre::tests {

std::vector<Way> AllWays() {
  return {{Path::kOneSided, "verbs", PutPath::kOneSided},
          {Path::kRpc, "verbs", PutPath::kOneSided}};
}

std::vector<std::string> ServerFlagsForWays() {
  return {"--fabric=verbs", "--device=rxe1", "--trust", "--lease_ms=3000"};
}

std::string DeviceOfClients() { return "rxe0"; }

bool WaysAreSlow() { return true; }

}  // namespace acre::tests
