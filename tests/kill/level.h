// Level: what a process, and the machine, hold by what /proc says: to see that nothing was left behind.
//
// Everything here is asked of the kernel anew at each call. What cannot be read, because a process has just
// gone or belongs to somebody else, is not counted.

#ifndef ACRE_TESTS_KILL_LEVEL_H_
#define ACRE_TESTS_KILL_LEVEL_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace acre::tests {

// What one process holds.
struct ProcessLevel {
  std::map<std::string, int> descriptors;  // By what they lead to: "socket", "memfd", a path, ...
  int shared_mappings = 0;                 // Of memfds.
  int threads = 0;
  int64_t private_kib = 0;  // Resident memory of its own.
};
ProcessLevel LevelOf(pid_t process);

// What `after` holds that `before` did not, or less of; private memory may have grown by `private_kib_max`.
// For people; empty: nothing.
std::string Growth(const ProcessLevel& before, const ProcessLevel& after, int64_t private_kib_max);

// What is in both.
ProcessLevel Lower(const ProcessLevel& one, const ProcessLevel& other);

// What stays of a level without `count` threads of tcp fabrics, with the epoll set and the eventfd that each has
// (transport/tcp/tcp_engine.h). A fabric keeps them from its first connection on, however short that was.
ProcessLevel WithoutTcpThreads(ProcessLevel level, int count);

// Numbers of the sockets that a process has open.
std::set<uint64_t> SocketsOf(pid_t process);
// Numbers of those that the machine has: Unix and TCP sockets, TCP ones that listen among them.
std::set<uint64_t> SocketsOfMachine();
// Whether a TCP socket of this machine listens on `address`: numbers, as in 127.0.0.1:7400. One that listens on
// all addresses of that port counts.
bool IsListenedOn(const std::string& address);

// Memory of memfds and /dev/shm, on huge pages or not, that no living process accounts for by a memfd that it
// has open or mapped: what leaks from everybody. In KiB.
int64_t UnaccountedSharedKib();

// Names in /dev/shm.
std::set<std::string> SharedMemoryNames();

// Processes that have `NAME=VALUE` in the environment that they were started with, zombies excepted.
std::vector<pid_t> ProcessesWith(absl::string_view name_and_value);

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_LEVEL_H_
