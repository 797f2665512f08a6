// Clusters of kv_server processes on this machine, for tests.

#ifndef ACRE_TESTS_TEST_CLUSTER_H_
#define ACRE_TESTS_TEST_CLUSTER_H_

#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/client.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "tests/or_die.h"
#include "tests/process.h"

namespace acre::tests {

// An address that nobody else on the machine takes: all of 127.0.0.0/8 is this machine, and the host is made
// of this process's id.
inline std::string OwnAddress() {
  static int next_port = 7400;
  const int pid = getpid();
  return absl::StrCat("127.", 64 + (pid >> 16 & 63), ".", pid >> 8 & 255, ".", pid & 255, ":",
                      next_port++);
}

inline std::string WriteClusterFile(const std::vector<std::string>& lines) {
  static int next_file = 0;
  const std::string path = absl::StrCat(StateFolder(), ".cluster", next_file++);
  std::ofstream(path) << "# of a test\n" << absl::StrJoin(lines, "\n") << "\n";
  return path;
}

inline std::unique_ptr<KvServer> StartMember(const std::string& address, const std::string& file,
                                             std::vector<std::string> more = {}) {
  more.push_back("--cluster=" + file);
  return StartOrDie({.listen = address, .memory = "16M", .more = std::move(more)});
}

// Servers of one cluster file.
struct TestCluster {
  explicit TestCluster(size_t count) {
    for (size_t i = 0; i < count; ++i) addresses.push_back(OwnAddress());
    Start(addresses);
  }
  // `more`: flags of each server.
  TestCluster(const std::vector<std::string>& servers_addresses,
              const std::vector<std::string>& more) {
    Start(servers_addresses, more);
  }
  // A cluster of these, which are not running.
  void Start(const std::vector<std::string>& servers_addresses,
             const std::vector<std::string>& more = {}) {
    addresses = servers_addresses;
    file = WriteClusterFile(addresses);
    servers.clear();
    for (const std::string& address : addresses) {
      servers.push_back(StartMember(address, file, more));
    }
  }
  void Kill() {
    for (const auto& server : servers) server->Kill();
  }
  // The index of the server that holds a key.
  size_t HomeOf(absl::string_view key) const {
    return kvs::KeyShare::ServerIndex(kvs::HashKey(key), addresses.size());
  }
  // The first of these keys that the server holds.
  std::string KeyOf(size_t index, absl::string_view prefix = "key") const {
    for (int i = 0;; ++i) {
      std::string key = absl::StrCat(prefix, i);
      if (HomeOf(key) == index) return key;
    }
  }

  std::vector<std::string> addresses;
  std::string file;
  std::vector<std::unique_ptr<KvServer>> servers;
};

inline std::unique_ptr<Client> JoinOrDie(std::vector<std::string> servers, const Way& way) {
  ClientOptions options = OptionsFor(servers[0], way);
  options.servers = std::move(servers);
  return ConnectOrDie(options);
}

}  // namespace acre::tests

#endif  // ACRE_TESTS_TEST_CLUSTER_H_
