#include "server/machine.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/optional.h"
#include "server/size.h"

namespace acre::server {
namespace {

// Left to the kernel, the process's own heap, and the rings of clients.
constexpr uint64_t kSpareBytes = uint64_t{128} << 20;

absl::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::optional<uint64_t> ReadNumber(const std::string& path) {
  const absl::optional<std::string> text = ReadFile(path);
  uint64_t number;
  if (!text.has_value() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &number)) {
    return absl::nullopt;
  }
  return number;
}

// "MemAvailable:   24113068 kB".
absl::optional<uint64_t> MemAvailableBytes(const std::string& meminfo) {
  for (absl::string_view line : absl::StrSplit(meminfo, '\n')) {
    if (!absl::ConsumePrefix(&line, "MemAvailable:")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t kib;
    if (!words.empty() && absl::SimpleAtoi(words[0], &kib)) return kib << 10;
  }
  return absl::nullopt;
}

// Of the tightest limit on the way from this process's cgroup (version 2) to the root.
uint64_t CgroupRoomBytes(absl::string_view root) {
  uint64_t room_bytes = std::numeric_limits<uint64_t>::max();
  const absl::optional<std::string> self = ReadFile(absl::StrCat(root, "/proc/self/cgroup"));
  if (!self.has_value()) return room_bytes;
  std::string path;
  for (absl::string_view line : absl::StrSplit(*self, '\n')) {
    if (absl::ConsumePrefix(&line, "0::")) path = std::string(line);
  }
  while (!path.empty()) {
    const std::string folder = absl::StrCat(root, "/sys/fs/cgroup", path);
    const absl::optional<uint64_t> limit = ReadNumber(folder + "/memory.max");
    const absl::optional<uint64_t> used = ReadNumber(folder + "/memory.current");
    if (limit.has_value() && used.has_value()) {
      room_bytes = std::min(room_bytes, *limit - std::min(*limit, *used));
    }
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  return room_bytes;
}

uint64_t FreeHugeBytes(absl::string_view root, uint64_t page_kib) {
  const std::string folder =
      absl::StrCat(root, "/sys/kernel/mm/hugepages/hugepages-", page_kib, "kB/");
  const uint64_t free = ReadNumber(folder + "free_hugepages").value_or(0);
  const uint64_t reserved = ReadNumber(folder + "resv_hugepages").value_or(0);
  return (free - std::min(free, reserved)) * page_kib << 10;
}

}  // namespace

MachineMemory ReadMachineMemory(absl::string_view root) {
  MachineMemory memory;
  const absl::optional<std::string> meminfo = ReadFile(absl::StrCat(root, "/proc/meminfo"));
  memory.available_bytes = std::numeric_limits<uint64_t>::max();
  if (meminfo.has_value()) {
    memory.available_bytes = MemAvailableBytes(*meminfo).value_or(memory.available_bytes);
  }
  memory.available_bytes = std::min(memory.available_bytes, CgroupRoomBytes(root));
  memory.free_2m_bytes = FreeHugeBytes(root, 2048);
  memory.free_1g_bytes = FreeHugeBytes(root, 1048576);
  return memory;
}

absl::Status CheckMemory(uint64_t wanted_bytes, transport::HugePages huge_pages,
                         const MachineMemory& machine) {
  const uint64_t normal_bytes =
      machine.available_bytes - std::min(machine.available_bytes, kSpareBytes);
  uint64_t free_bytes = 0;
  absl::string_view of_what;
  switch (huge_pages) {
    case transport::HugePages::kOff:
      free_bytes = normal_bytes;
      of_what = "of memory";
      break;
    case transport::HugePages::k2M:
      free_bytes = machine.free_2m_bytes;
      of_what = "on free 2 MiB pages";
      break;
    case transport::HugePages::k1G:
      free_bytes = machine.free_1g_bytes;
      of_what = "on free 1 GiB pages";
      break;
    case transport::HugePages::kAuto:
      // What a region does not get of one kind it gets of the next, so the sum is what there is at best.
      free_bytes = normal_bytes + machine.free_2m_bytes + machine.free_1g_bytes;
      of_what = "of memory, huge pages included,";
      break;
  }
  if (wanted_bytes <= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "--memory asks for ", FormatSize(wanted_bytes), ", but only ", FormatSize(free_bytes), " ",
      of_what, " can be had: ask for less, or free some",
      huge_pages == transport::HugePages::k1G || huge_pages == transport::HugePages::k2M
          ? " (nr_hugepages below /sys/kernel/mm/hugepages)"
          : ""));
}

absl::StatusOr<std::string> ReadBootId() {
  const absl::optional<std::string> text = ReadFile("/proc/sys/kernel/random/boot_id");
  if (!text.has_value() || text->empty()) {
    return absl::InternalError("cannot read /proc/sys/kernel/random/boot_id: is /proc mounted?");
  }
  return std::string(absl::StripAsciiWhitespace(*text));
}

}  // namespace acre::server
