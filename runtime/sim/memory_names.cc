#include "runtime/sim/memory_names.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::sim {

void MemoryNames::Add(const void* begin, size_t bytes, std::string name) {
  const bool added =
      areas_.emplace(reinterpret_cast<uintptr_t>(begin), Area{bytes, std::move(name)}).second;
  CHECK(added) << "memory gets a second name";
}

void MemoryNames::Remove(const void* begin) { areas_.erase(reinterpret_cast<uintptr_t>(begin)); }

std::string MemoryNames::NameOf(const void* address) const {
  const auto at = reinterpret_cast<uintptr_t>(address);
  auto area = areas_.upper_bound(at);
  if (area == areas_.begin()) return "";
  --area;
  const uintptr_t offset = at - area->first;
  if (offset >= area->second.bytes) return "";
  return absl::StrCat(area->second.name, "+0x", absl::Hex(offset));
}

std::string MemoryNames::ValueText(uint64_t value) {
  // Where Linux puts a program's own segments and heap, and its mappings and stack.
  const bool in_program = value >= 0x5500'0000'0000 && value < 0x5700'0000'0000;
  const bool in_mappings = value >= 0x7e00'0000'0000 && value < 0x8000'0000'0000;
  if (in_program || in_mappings) return "pointer";
  return absl::StrCat("0x", absl::Hex(value));
}

}  // namespace acre::sim
