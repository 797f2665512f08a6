// As ways_trusted_shm.cc, over sockets.

#include "tests/ways.h"

namespace acre::tests {

std::vector<Way> AllWays() {
  return {{Path::kOneSided, "tcp", PutPath::kOneSided},
          {Path::kRpc, "tcp", PutPath::kOneSided},
          {Path::kOneSided, "tcp", PutPath::kRpc}};
}

std::vector<std::string> ServerFlagsForWays() {
  return {"--fabric=tcp", "--trust", "--lease_ms=1000"};
}

std::string DeviceOfClients() { return ""; }

bool WaysAreSlow() { return false; }

}  // namespace acre::tests
