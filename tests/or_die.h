// Servers and clients that tests cannot do without: what fails here ends the test with the reason.

#ifndef ACRE_TESTS_OR_DIE_H_
#define ACRE_TESTS_OR_DIE_H_

#include <memory>
#include <string>
#include <utility>

#include "client/client.h"
#include "glog/logging.h"
#include "tests/process.h"

namespace acre::tests {

// How a client gets to a server.
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

inline ClientOptions OptionsFor(const std::string& address, const Way& way) {
  ClientOptions options;
  options.servers = {address};
  options.path = way.path;
  options.fabric = way.fabric;
  return options;
}

inline std::unique_ptr<Client> ConnectOrDie(const ClientOptions& options) {
  auto client = Client::Connect(options);
  CHECK(client.ok()) << client.status();
  return *std::move(client);
}

inline std::unique_ptr<Client> ConnectOrDie(const std::string& address,
                                            const Way& way = Path::kRpc) {
  return ConnectOrDie(OptionsFor(address, way));
}

inline std::unique_ptr<KvServer> StartOrDie(ServerFlags flags = {}) {
  auto server = KvServer::Start(std::move(flags));
  CHECK(server.ok()) << server.status();
  return *std::move(server);
}

}  // namespace acre::tests

#endif  // ACRE_TESTS_OR_DIE_H_
