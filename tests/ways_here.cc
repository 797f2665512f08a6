#include "tests/ways.h"

namespace acre::tests {

std::vector<Way> AllWays() {
  return {Path::kMapped, Path::kOneSided,          Path::kRpc,
          Path::kTcp,    {Path::kOneSided, "tcp"}, {Path::kRpc, "tcp"}};
}

std::vector<std::string> ServerFlagsForWays() { return {}; }

std::string DeviceOfClients() { return ""; }

bool WaysAreSlow() { return false; }

}  // namespace acre::tests
