#include "tests/kill/level.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"

namespace acre::tests {
namespace {

constexpr absl::string_view kMemfd = "/memfd:";
constexpr absl::string_view kSocket = "socket:[";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  return names;
}

std::string LinkTarget(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t bytes = readlink(path.c_str(), target, sizeof(target));
  return bytes < 0 ? "" : std::string(target, static_cast<size_t>(bytes));
}

// The number behind `name` in a file of "name: number unit" lines. 0: it is not there.
int64_t FieldOf(const std::string& text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, name) || !absl::ConsumePrefix(&line, ":")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    const std::vector<absl::string_view> number =
        absl::StrSplit(words.empty() ? "" : words[0], '\t', absl::SkipEmpty());
    int64_t value = 0;
    if (!number.empty() && absl::SimpleAtoi(number[0], &value)) return value;
  }
  return 0;
}

// The columns of each line but the first.
std::vector<std::vector<std::string>> TableOf(const std::string& path) {
  std::vector<std::vector<std::string>> rows;
  for (absl::string_view line : absl::StrSplit(ReadFile(path), '\n', absl::SkipEmpty())) {
    rows.push_back(absl::StrSplit(line, ' ', absl::SkipWhitespace()));
  }
  if (!rows.empty()) rows.erase(rows.begin());
  return rows;
}

std::vector<pid_t> AllProcesses() {
  std::vector<pid_t> processes;
  for (const std::string& name : NamesIn("/proc")) {
    int number = 0;
    if (absl::SimpleAtoi(name, &number)) processes.push_back(number);
  }
  return processes;
}

// What the kernel counts as shared memory, huge pages in use among it.
int64_t SharedKib() {
  const std::string memory = ReadFile("/proc/meminfo");
  const int64_t huge_pages = FieldOf(memory, "HugePages_Total") - FieldOf(memory, "HugePages_Free");
  return FieldOf(memory, "Shmem") + FieldOf(memory, "Hugepagesize") * huge_pages;
}

// What living processes have open or mapped of it, as memfds.
int64_t AccountedKib() {
  std::map<std::pair<uint64_t, uint64_t>, int64_t> kib_by_file;
  for (const pid_t process : AllProcesses()) {
    for (const char* folder : {"fd", "map_files"}) {
      const std::string path = absl::StrCat("/proc/", process, "/", folder);
      for (const std::string& name : NamesIn(path)) {
        const std::string link = absl::StrCat(path, "/", name);
        struct stat status;
        if (!absl::StartsWith(LinkTarget(link), kMemfd)) continue;
        if (stat(link.c_str(), &status) != 0) continue;
        kib_by_file[{status.st_dev, status.st_ino}] = status.st_blocks / 2;
      }
    }
  }
  int64_t kib = 0;
  for (const auto& [file, held_kib] : kib_by_file) kib += held_kib;
  return kib;
}

constexpr int kLooksMax = 50;
constexpr size_t kTcpLocalAddress = 1;
constexpr size_t kTcpState = 3;
constexpr size_t kTcpInode = 9;
constexpr size_t kUnixInode = 6;
constexpr absl::string_view kTcpListens = "0A";

}  // namespace

ProcessLevel LevelOf(pid_t process) {
  ProcessLevel level;
  const std::string root = absl::StrCat("/proc/", process);
  for (const std::string& name : NamesIn(root + "/fd")) {
    std::string target = LinkTarget(absl::StrCat(root, "/fd/", name));
    if (target.empty()) continue;  // That of the look itself, or just closed.
    if (absl::StartsWith(target, kSocket)) target = "socket";
    if (absl::StartsWith(target, "pipe:[")) target = "pipe";
    if (absl::StartsWith(target, kMemfd)) target = "memfd";
    // The look itself.
    if (target == root + "/fd") continue;
    ++level.descriptors[target];
  }
  for (absl::string_view line : absl::StrSplit(ReadFile(root + "/maps"), '\n')) {
    level.shared_mappings += absl::StrContains(line, kMemfd);
  }
  const std::string status = ReadFile(root + "/status");
  level.threads = static_cast<int>(FieldOf(status, "Threads"));
  level.private_kib = FieldOf(status, "RssAnon");
  return level;
}

std::string Growth(const ProcessLevel& before, const ProcessLevel& after, int64_t private_kib_max) {
  std::string growth;
  const auto compare = [&growth](absl::string_view what, int64_t was, int64_t is) {
    if (was != is) absl::StrAppend(&growth, " ", what, ": ", was, ", then ", is, ";");
  };
  std::map<std::string, int> targets = before.descriptors;
  targets.insert(after.descriptors.begin(), after.descriptors.end());
  for (const auto& [target, unused] : targets) {
    const auto was = before.descriptors.find(target);
    const auto is = after.descriptors.find(target);
    compare("descriptors of " + target, was == before.descriptors.end() ? 0 : was->second,
            is == after.descriptors.end() ? 0 : is->second);
  }
  compare("shared mappings", before.shared_mappings, after.shared_mappings);
  compare("threads", before.threads, after.threads);
  if (after.private_kib > before.private_kib + private_kib_max) {
    compare("KiB of private memory", before.private_kib, after.private_kib);
  }
  return growth;
}

ProcessLevel Lower(const ProcessLevel& one, const ProcessLevel& other) {
  ProcessLevel lower;
  for (const auto& [what, count] : one.descriptors) {
    const auto found = other.descriptors.find(what);
    if (found != other.descriptors.end()) lower.descriptors[what] = std::min(count, found->second);
  }
  lower.shared_mappings = std::min(one.shared_mappings, other.shared_mappings);
  lower.threads = std::min(one.threads, other.threads);
  lower.private_kib = std::min(one.private_kib, other.private_kib);
  return lower;
}

ProcessLevel WithoutTcpThreads(ProcessLevel level, int count) {
  level.threads -= count;
  level.descriptors["anon_inode:[eventpoll]"] -= count;
  level.descriptors["anon_inode:[eventfd]"] -= count;
  return level;
}

std::set<uint64_t> SocketsOf(pid_t process) {
  std::set<uint64_t> sockets;
  const std::string folder = absl::StrCat("/proc/", process, "/fd");
  for (const std::string& name : NamesIn(folder)) {
    const std::string target = LinkTarget(absl::StrCat(folder, "/", name));
    absl::string_view number = target;
    uint64_t inode = 0;
    if (absl::ConsumePrefix(&number, kSocket) && absl::ConsumeSuffix(&number, "]") &&
        absl::SimpleAtoi(number, &inode)) {
      sockets.insert(inode);
    }
  }
  return sockets;
}

std::set<uint64_t> SocketsOfMachine() {
  std::set<uint64_t> sockets;
  const std::pair<const char*, size_t> tables[] = {
      {"/proc/net/unix", kUnixInode}, {"/proc/net/tcp", kTcpInode}, {"/proc/net/tcp6", kTcpInode}};
  for (const auto& [path, column] : tables) {
    for (const std::vector<std::string>& row : TableOf(path)) {
      uint64_t inode = 0;
      // 0: one that nobody has open any more and the kernel keeps for the peer's sake.
      if (row.size() > column && absl::SimpleAtoi(row[column], &inode) && inode != 0) {
        sockets.insert(inode);
      }
    }
  }
  return sockets;
}

bool IsListenedOn(const std::string& address) {
  const size_t colon = address.rfind(':');
  in_addr host{};
  int port = 0;
  CHECK(inet_pton(AF_INET, address.substr(0, colon).c_str(), &host) == 1 &&
        absl::SimpleAtoi(address.substr(colon + 1), &port))
      << address;
  // As the kernel writes it: the host's four bytes as one number of this machine.
  const std::string end = absl::StrCat(":", absl::Hex(port, absl::kZeroPad4));
  const std::string own = absl::StrCat(absl::Hex(host.s_addr, absl::kZeroPad8), end);
  for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    for (const std::vector<std::string>& row : TableOf(path)) {
      if (row.size() <= kTcpState || row[kTcpState] != kTcpListens) continue;
      const std::string& local = row[kTcpLocalAddress];
      const bool is_any = local.find_first_not_of('0') == local.find(':');
      if (absl::EqualsIgnoreCase(local, own) || (is_any && absl::EndsWithIgnoreCase(local, end))) {
        return true;
      }
    }
  }
  return false;
}

int64_t UnaccountedSharedKib() {
  // Neighbours come and go while processes are looked at: a look counts if memory was the same before and after.
  int64_t shared_kib = SharedKib();
  for (int looks = 1;; ++looks) {
    const int64_t accounted_kib = AccountedKib();
    const int64_t before_kib = std::exchange(shared_kib, SharedKib());
    if (before_kib == shared_kib || looks == kLooksMax) return shared_kib - accounted_kib;
  }
}

std::set<std::string> SharedMemoryNames() {
  const std::vector<std::string> names = NamesIn("/dev/shm");
  return {names.begin(), names.end()};
}

std::vector<pid_t> ProcessesWith(absl::string_view name_and_value) {
  std::vector<pid_t> found;
  for (const pid_t process : AllProcesses()) {
    const std::string environment = ReadFile(absl::StrCat("/proc/", process, "/environ"));
    for (absl::string_view variable : absl::StrSplit(environment, '\0')) {
      if (variable == name_and_value) found.push_back(process);
    }
  }
  return found;
}

}  // namespace acre::tests
