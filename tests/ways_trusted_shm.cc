// To servers that let their clients write: Puts that go one-sided, with each kind of read, and by RPC beside them.

#include "tests/ways.h"

namespace acre::tests {

std::vector<Way> AllWays() {
  return {{Path::kMapped, "shm", PutPath::kOneSided},
          {Path::kOneSided, "shm", PutPath::kOneSided},
          {Path::kRpc, "shm", PutPath::kOneSided},
          {Path::kOneSided, "shm", PutPath::kRpc}};
}

// The lease of memory that clients may write is all that its readers go by, and the machine may be slow.
std::vector<std::string> ServerFlagsForWays() {
  return {"--fabric=shm", "--trust", "--lease_ms=1000"};
}

std::string DeviceOfClients() { return ""; }

bool WaysAreSlow() { return false; }

}  // namespace acre::tests
