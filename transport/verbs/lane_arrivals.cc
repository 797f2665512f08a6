#include "transport/verbs/lane_arrivals.h"

#include <errno.h>
#include <unistd.h>

#include <utility>

#include "glog/logging.h"

namespace acre::transport {

LaneArrivals::LaneArrivals(ScopedFd fd) : fd_(std::move(fd)) {}

bool LaneArrivals::Push(LaneArrival arrival) {
  MutexLock lock(&mutex_);
  if (is_closed_) return false;
  queue_.push_back(std::move(arrival));
  const uint64_t one = 1;
  PCHECK(write(fd_.get(), &one, sizeof(one)) == sizeof(one));
  return true;
}

absl::optional<LaneArrival> LaneArrivals::Pop() {
  MutexLock lock(&mutex_);
  if (queue_.empty()) return absl::nullopt;
  LaneArrival arrival = std::move(queue_.front());
  queue_.pop_front();
  uint64_t number;
  if (queue_.empty()) PCHECK(read(fd_.get(), &number, sizeof(number)) == sizeof(number));
  return arrival;
}

std::deque<LaneArrival> LaneArrivals::Close() {
  MutexLock lock(&mutex_);
  is_closed_ = true;
  return std::exchange(queue_, {});
}

}  // namespace acre::transport
