#include "bench/pacer.h"

#include "glog/logging.h"

namespace acre::bench {

void Pacer::Start(double operations_per_second, double ticks_per_second) {
  CHECK(!running_ && operations_per_second > 0 && ticks_per_second > 0);
  gap_ticks_ = ticks_per_second / operations_per_second;
  offset_ticks_ = Gap();
}

void Pacer::Resume(uint64_t now_ticks) {
  CHECK(!running_ && gap_ticks_ > 0);
  running_ = true;
  base_ticks_ = now_ticks;
  SetNext();
}

void Pacer::Pause(uint64_t now_ticks) {
  if (!running_) return;
  running_ = false;
  offset_ticks_ -= static_cast<double>(now_ticks - base_ticks_);
}

uint64_t Pacer::backlog() const {
  if (offset_ticks_ >= 0) return 0;
  return 1 + static_cast<uint64_t>(-offset_ticks_ / gap_ticks_);
}

}  // namespace acre::bench
