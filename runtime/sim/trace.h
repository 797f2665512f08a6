// The trace of a World: a hash of all that happens, always; lines of text if somebody wants to read.

#ifndef ACRE_RUNTIME_SIM_TRACE_H_
#define ACRE_RUNTIME_SIM_TRACE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/strings/string_view.h"

namespace acre::sim {

class Trace {
 public:
  // Keeps the last `lines_max` lines; 0: none.
  explicit Trace(size_t lines_max) : lines_max_(lines_max) {}

  bool keeps_lines() const { return lines_max_ != 0; }
  void Add(std::string line);
  // All lines that are kept, each with its newline.
  std::string text() const;

  // Two runs that differ in what they gave to Hash differ in this number, but for chance.
  uint64_t hash() const { return hash_; }
  void Hash(uint64_t number) { hash_ = (std::rotl(hash_, 23) ^ number) * 0x9e3779b97f4a7c15; }

 private:
  const size_t lines_max_;
  uint64_t hash_ = 0;
  std::deque<std::string> lines_;
};

}  // namespace acre::sim

#endif  // ACRE_RUNTIME_SIM_TRACE_H_
