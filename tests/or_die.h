// Servers and clients that tests cannot do without: what fails here ends the test with the reason.

#ifndef ACRE_TESTS_OR_DIE_H_
#define ACRE_TESTS_OR_DIE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
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
  options.put_path = way.put_path;
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

// A number out of a server's stats. `server`: of a cluster, as AsyncClient::ServerStats().
inline uint64_t StatOf(Client* client, const std::string& server, absl::string_view name) {
  const absl::StatusOr<std::string> stats = client->ServerStats(server);
  CHECK(stats.ok()) << stats.status();
  for (const absl::string_view line : absl::StrSplit(*stats, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    uint64_t value;
    if (words.size() == 2 && words[0] == name && absl::SimpleAtoi(words[1], &value)) return value;
  }
  LOG(FATAL) << "no " << name << " in " << *stats;
}
inline uint64_t StatOf(Client* client, absl::string_view name) {
  return StatOf(client, /*server=*/"", name);
}

}  // namespace acre::tests

#endif  // ACRE_TESTS_OR_DIE_H_
