#include "server/doctor/memory_checks.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "server/doctor/sysfs.h"
#include "server/machine.h"
#include "server/size.h"

namespace acre::doctor {
namespace {

using server::FormatSize;

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
// Bit of the effective set: CAP_IPC_LOCK of linux/capability.h, who has it may lock what it likes.
constexpr int kIpcLockBit = 14;
// A dozen clients' rings and payload areas, registered twice.
constexpr uint64_t kRingsBytes = uint64_t{128} << 20;

// The tightest memory.max on the way from this process's cgroup (version 2) to the root, or kUnlimited.
uint64_t CgroupLimit(const std::string& root) {
  uint64_t limit = kUnlimited;
  absl::optional<std::string> path = ReadField(root + "/proc/self/cgroup", "0:");
  while (path.has_value() && !path->empty()) {
    const auto own =
        ReadInteger(absl::StrCat(root, "/sys/fs/cgroup", *path == "/" ? "" : *path, "/memory.max"));
    if (own.has_value() && *own >= 0) limit = std::min(limit, static_cast<uint64_t>(*own));
    const size_t slash = path->rfind('/');
    path->resize(slash == std::string::npos ? 0 : slash);
  }
  return limit;
}

struct MemlockLimit {
  uint64_t soft_bytes = kUnlimited;
  uint64_t hard_bytes = kUnlimited;
};

absl::optional<uint64_t> ParseLimit(absl::string_view text) {
  uint64_t bytes;
  if (text == "unlimited") return kUnlimited;
  if (!absl::SimpleAtoi(text, &bytes)) return absl::nullopt;
  return bytes;
}

// "Max locked memory         8388608              unlimited            bytes".
absl::optional<MemlockLimit> ReadMemlock(const std::string& root) {
  const absl::optional<std::string> text = ReadText(root + "/proc/self/limits");
  if (!text.has_value()) return absl::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, "Max locked memory")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 2) return absl::nullopt;
    const absl::optional<uint64_t> soft = ParseLimit(words[0]);
    const absl::optional<uint64_t> hard = ParseLimit(words[1]);
    if (!soft.has_value() || !hard.has_value()) return absl::nullopt;
    return MemlockLimit{*soft, *hard};
  }
  return absl::nullopt;
}

bool MayLockAnything(const std::string& root) {
  const absl::optional<std::string> mask = ReadField(root + "/proc/self/status", "CapEff");
  uint64_t bits;
  return mask.has_value() && absl::SimpleHexAtoi(*mask, &bits) && (bits >> kIpcLockBit & 1) != 0;
}

std::string LimitText(uint64_t bytes) {
  return bytes == kUnlimited ? "unlimited" : FormatSize(bytes);
}

}  // namespace

Check CheckAvailableMemory(const std::string& root, uint64_t memory_bytes) {
  const server::MachineMemory machine = server::ReadMachineMemory(root);
  const uint64_t cgroup_bytes = CgroupLimit(root);
  Check check;
  check.what = "memory";
  check.found = absl::StrCat(
      machine.available_bytes == kUnlimited ? "unknown" : FormatSize(machine.available_bytes),
      " available, ",
      cgroup_bytes == kUnlimited
          ? "no limit by a cgroup"
          : absl::StrCat("this process's cgroup may have ", FormatSize(cgroup_bytes), " in all"));
  check.figures = {{"available_bytes", static_cast<double>(machine.available_bytes)}};
  const absl::Status fits = server::CheckMemory(memory_bytes, transport::HugePages::kAuto, machine);
  if (fits.ok()) return check;
  check.verdict = Verdict::kBad;
  absl::StrAppend(&check.found, "; a server with --memory=", FormatSize(memory_bytes),
                  " would not start");
  check.mend.push_back("kv_server --memory=SIZE   # less (and tell kv_doctor the same --memory)");
  if (cgroup_bytes != kUnlimited && cgroup_bytes < memory_bytes * 2) {
    check.mend.push_back("docker run --memory=SIZE ...   # or systemd's MemoryMax=, more");
  }
  return check;
}

std::vector<std::string> MemlockMends(bool hard_limit_allows) {
  std::vector<std::string> mends;
  if (hard_limit_allows) {
    mends.push_back("ulimit -l unlimited   # in the shell that starts kv_server");
  } else {
    mends.push_back(
        "printf '* - memlock unlimited\\n' > /etc/security/limits.d/acre.conf   "
        "# as root; then log in anew (ulimit -l unlimited fails: the hard limit forbids it)");
  }
  mends.push_back("LimitMEMLOCK=infinity   # in the unit, where systemd starts it");
  mends.push_back("docker run --ulimit memlock=-1 ...   # in a container");
  return mends;
}

Check CheckMemlock(const std::string& root, uint64_t memory_bytes) {
  Check check;
  check.what = "memlock";
  const absl::optional<MemlockLimit> limit = ReadMemlock(root);
  if (!limit.has_value()) {
    check.verdict = Verdict::kNote;
    check.found = "the limit cannot be read (/proc/self/limits): the registration below says more";
    return check;
  }
  const uint64_t wanted_bytes = 2 * memory_bytes + kRingsBytes;
  check.found = LimitText(limit->soft_bytes);
  check.figures = {{"soft_bytes", static_cast<double>(limit->soft_bytes)}};
  if (limit->soft_bytes >= wanted_bytes) return check;
  if (MayLockAnything(root)) {
    absl::StrAppend(&check.found, ", lifted by the capability to lock memory (CAP_IPC_LOCK)");
    return check;
  }
  check.verdict = Verdict::kBad;
  absl::StrAppend(&check.found,
                  ", and a card locks twice the server's --memory=", FormatSize(memory_bytes),
                  " and its clients' rings: ", FormatSize(wanted_bytes));
  check.mend = MemlockMends(limit->hard_bytes >= wanted_bytes);
  return check;
}

std::vector<Check> CheckHugePages(const std::string& root, uint64_t memory_bytes) {
  const std::string folder = root + "/sys/kernel/mm/hugepages";
  std::vector<Check> checks;
  bool some_size_suffices = false;
  for (const std::string& name : ListFolder(folder)) {
    absl::string_view size = name;
    uint64_t page_kib;
    if (!absl::ConsumePrefix(&size, "hugepages-") || !absl::ConsumeSuffix(&size, "kB") ||
        !absl::SimpleAtoi(size, &page_kib) || page_kib == 0) {
      continue;
    }
    const std::string path = absl::StrCat(folder, "/", name);
    const int64_t total = ReadInteger(path + "/nr_hugepages").value_or(0);
    const int64_t reserved = ReadInteger(path + "/resv_hugepages").value_or(0);
    const int64_t free =
        std::max<int64_t>(0, ReadInteger(path + "/free_hugepages").value_or(0) - reserved);
    const uint64_t page_bytes = page_kib << 10;
    const uint64_t wanted = (memory_bytes + page_bytes - 1) / page_bytes;
    Check check;
    check.what = "huge pages";
    check.found = absl::StrCat(FormatSize(page_bytes), ": ", free, " of ", total, " free");
    check.figures = {{"free", static_cast<double>(free)}, {"total", static_cast<double>(total)}};
    if (static_cast<uint64_t>(free) >= wanted) {
      some_size_suffices = true;
    } else {
      check.verdict = Verdict::kNote;
      absl::StrAppend(&check.found, ", --memory=", FormatSize(memory_bytes), " takes ", wanted);
      check.mend.push_back(absl::StrCat("echo ", static_cast<uint64_t>(total - free) + wanted,
                                        " > /sys/kernel/mm/hugepages/", name,
                                        "/nr_hugepages   # as root"));
    }
    checks.push_back(std::move(check));
  }
  // One size is enough: what the other lacks is nobody's loss.
  for (Check& check : checks) {
    if (!some_size_suffices) continue;
    check.verdict = Verdict::kOk;
    check.mend.clear();
  }
  if (checks.empty()) {
    checks.push_back({Verdict::kNote, "huge pages", "the kernel has none: normal pages, slower"});
  }
  return checks;
}

}  // namespace acre::doctor
