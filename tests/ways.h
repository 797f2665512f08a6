// Ways: how clients of a test program get to its servers. What they are is decided by what is linked:
// ways_here.cc for networks that every machine has, ways_over_verbs.cc for machines with two RDMA cards;
// ways_trusted_*.cc, one for each network, for servers that let their clients write by themselves, which
// they do on one of their networks only.

#ifndef ACRE_TESTS_WAYS_H_
#define ACRE_TESTS_WAYS_H_

#include <string>
#include <vector>

#include "client/client.h"

namespace acre::tests {

struct Way {
  Way(Path of_path, const char* of_fabric = "auto",  // NOLINT: a path alone is a way.
      PutPath of_puts = PutPath::kAuto)
      : path(of_path), fabric(of_fabric), put_path(of_puts) {}
  std::string Name() const {
    std::string name = PathName(path);
    if (fabric != "auto") name += "_over_" + fabric;
    if (put_path != PutPath::kAuto) name += std::string("_puts_") + PutPathName(put_path);
    return name;
  }

  Path path;
  std::string fabric;  // ClientOptions::fabric.
  PutPath put_path;
};

// Those that tests of the store are to run over.
std::vector<Way> AllWays();
// Of a kv_server that they lead to. Flags that come later win.
std::vector<std::string> ServerFlagsForWays();
// ClientOptions::device.
std::string DeviceOfClients();
// Whether a request takes tens of microseconds of CPU: what tests do hundreds of times they do less often then.
bool WaysAreSlow();

}  // namespace acre::tests

#endif  // ACRE_TESTS_WAYS_H_
