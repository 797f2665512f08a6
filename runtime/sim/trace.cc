#include "runtime/sim/trace.h"

#include <utility>

namespace acre::sim {

void Trace::Add(std::string line) {
  if (lines_.size() == lines_max_) lines_.pop_front();
  lines_.push_back(std::move(line));
}

std::string Trace::text() const {
  std::string text;
  for (const std::string& line : lines_) {
    text += line;
    text += '\n';
  }
  return text;
}

}  // namespace acre::sim
