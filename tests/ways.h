// Ways: how clients of a test program get to its servers. What they are is decided by what is linked:
// ways_here.cc for networks that every machine has, ways_over_verbs.cc for machines with two RDMA cards.

#ifndef ACRE_TESTS_WAYS_H_
#define ACRE_TESTS_WAYS_H_

#include <string>
#include <vector>

#include "client/client.h"

namespace acre::tests {

struct Way {
  Way(Path of_path, const char* of_fabric = "auto")  // NOLINT: a path alone is a way.
      : path(of_path), fabric(of_fabric) {}
  std::string Name() const {
    const std::string name = PathName(path);
    return fabric == std::string("auto") ? name : name + "_over_" + fabric;
  }

  Path path;
  std::string fabric;  // ClientOptions::fabric.
};

// Those that tests of the store are to run over.
std::vector<Way> AllWays();
// Of a kv_server that they lead to.
std::vector<std::string> ServerFlagsForWays();
// ClientOptions::device.
std::string DeviceOfClients();

}  // namespace acre::tests

#endif  // ACRE_TESTS_WAYS_H_
