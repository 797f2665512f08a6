// Between two cards: a card that talks to itself takes shorter ways.

#include "tests/ways.h"

namespace acre::tests {

std::vector<Way> AllWays() { return {{Path::kOneSided, "verbs"}, {Path::kRpc, "verbs"}}; }

std::vector<std::string> ServerFlagsForWays() {
  return {"--fabric=shm,verbs,tcp", "--device=rxe1"};
}

std::string DeviceOfClients() { return "rxe0"; }

bool WaysAreSlow() { return true; }

}  // namespace acre::tests
