// The client process: it works till it is told to stop, and writes what it does to its journal.
//
// SIGUSR1  end what is under way, show that all servers can be reached, say so on stdout (ParkedMark), and
//          stand still with the connection open, or closed in order if the role says so, till
// SIGUSR2  go on.
// SIGTERM  end what is under way, close the connection, and exit.
//
// It dies with its parent. In its pauses it waits for these signals.

#ifndef ACRE_TESTS_KILL_CLIENT_ROLE_H_
#define ACRE_TESTS_KILL_CLIENT_ROLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/client.h"
#include "tests/kill/work.h"

namespace acre::tests {

struct ClientRole {
  std::vector<std::string> servers;  // HOST:PORT of all of them.
  uint32_t number = 0;
  uint64_t seed = 0;
  std::string fabric = "auto";
  Path path = Path::kRpc;
  PutPath put_path = PutPath::kAuto;
  std::string secret_file;  // "": no secret.
  bool coroutines = false;  // Else the blocking form.
  bool closes_to_park = false;
  int64_t pause_us_max = 3'000;  // Between bursts of steps.
  std::string journal;           // Path of its file.
  ClientPlant plant;
};

// What begins the line on stdout when it parks for the first time, the second, ...
std::string ParkedMark(int parks);
// What stands in that line before the number of records that its client has written by itself since it connected.
extern const char kUpdatesMark[];

// OK after SIGTERM. Internal: what it found, for people.
absl::Status RunClientRole(const ClientRole& role);

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_CLIENT_ROLE_H_
