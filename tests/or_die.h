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

// A program with a client's flags (kv_cli, ycsb), one that goes this way.
inline std::vector<std::string> CommandFor(const std::string& program, const std::string& address,
                                           const Way& way) {
  std::vector<std::string> command = {program, "--servers=" + address, "--fabric=" + way.fabric,
                                      std::string("--path=") + PathName(way.path),
                                      std::string("--put_path=") + PutPathName(way.put_path)};
  if (way.fabric == "verbs") command.push_back("--device=" + DeviceOfClients());
  return command;
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

// SIGKILL; from then on `client` is told Unavailable. Whoever has mapped memory of a server that does not mark its death
// may read it, and write it if he may, till its lease is over: so long no other server is there. `key`: one of the server's.
inline void KillAndOutliveLease(KvServer* server, Client* client, absl::string_view key) {
  const bool has_mark = StatOf(client, server->address(), "death_marks") == 1;
  server->Kill();
  while (!has_mark && client->Put(key, "in memory that is lost").ok()) {
  }
}

}  // namespace acre::tests

#endif  // ACRE_TESTS_OR_DIE_H_
