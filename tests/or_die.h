// Servers and clients that tests cannot do without: what fails here ends the test with the reason.

#ifndef ACRE_TESTS_OR_DIE_H_
#define ACRE_TESTS_OR_DIE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/client.h"
#include "glog/logging.h"
#include "tests/process.h"
#include "tests/ways.h"

namespace acre::tests {

inline ClientOptions OptionsFor(const std::string& address, const Way& way) {
  ClientOptions options;
  options.servers = {address};
  options.path = way.path;
  options.fabric = way.fabric;
  if (way.fabric == "verbs") options.device = DeviceOfClients();
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

// A server that AllWays() lead to, unless the flags name other fabrics.
inline std::unique_ptr<KvServer> StartOrDie(ServerFlags flags = {}) {
  const std::vector<std::string> ways = ServerFlagsForWays();
  flags.more.insert(flags.more.begin(), ways.begin(), ways.end());
  auto server = KvServer::Start(std::move(flags));
  CHECK(server.ok()) << server.status();
  return *std::move(server);
}

}  // namespace acre::tests

#endif  // ACRE_TESTS_OR_DIE_H_
