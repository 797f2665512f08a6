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

inline ClientOptions OptionsFor(const std::string& address, Path path) {
  ClientOptions options;
  options.servers = {address};
  options.path = path;
  return options;
}

inline std::unique_ptr<Client> ConnectOrDie(const ClientOptions& options) {
  auto client = Client::Connect(options);
  CHECK(client.ok()) << client.status();
  return *std::move(client);
}

inline std::unique_ptr<Client> ConnectOrDie(const std::string& address, Path path = Path::kRpc) {
  return ConnectOrDie(OptionsFor(address, path));
}

inline std::unique_ptr<KvServer> StartOrDie(ServerFlags flags = {}) {
  auto server = KvServer::Start(std::move(flags));
  CHECK(server.ok()) << server.status();
  return *std::move(server);
}

}  // namespace acre::tests

#endif  // ACRE_TESTS_OR_DIE_H_
