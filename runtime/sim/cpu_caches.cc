#include "runtime/sim/cpu_caches.h"

#include <iterator>

namespace acre::sim {
namespace {

constexpr uintptr_t kLineBytes = 64;

}  // namespace

CpuCaches::Line* CpuCaches::FindLine(uintptr_t address) {
  const auto behind = areas_.upper_bound(address);
  const bool has_neighbours =
      behind != areas_.begin() && address - std::prev(behind)->first < std::prev(behind)->second;
  if (!has_neighbours) return &lines_.emplace_back();
  Line*& line = by_number_[address / kLineBytes];
  if (line == nullptr) line = &lines_.emplace_back();
  return line;
}

}  // namespace acre::sim
