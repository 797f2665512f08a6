// What the trace calls the words of simulated memory: addresses differ from run to run, names do
// not.

#ifndef ACRE_RUNTIME_SIM_MEMORY_NAMES_H_
#define ACRE_RUNTIME_SIM_MEMORY_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace acre::sim {

class MemoryNames {
 public:
  // Requires: named areas do not overlap.
  void Add(const void* begin, size_t bytes, std::string name);
  // No effect when it has no name.
  void Remove(const void* begin);
  // "name+0x40"; empty for memory without a name.
  std::string NameOf(const void* address) const;

  // A value in hexadecimal, or "pointer" where it looks like one of this program, which would differ
  // from run to run.
  static std::string ValueText(uint64_t value);

 private:
  struct Area {
    size_t bytes;
    std::string name;
  };
  std::map<uintptr_t, Area> areas_;  // By their first byte.
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_MEMORY_NAMES_H_
