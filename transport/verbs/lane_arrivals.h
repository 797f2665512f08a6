// LaneArrivals: lanes that peers want, on their way from the threads that have the queue pairs to the listener's.
//
// Ownership:  the listener and the queue pairs that it brought in share it.
// Threads:    any.

#ifndef ACRE_TRANSPORT_VERBS_LANE_ARRIVALS_H_
#define ACRE_TRANSPORT_VERBS_LANE_ARRIVALS_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/types/optional.h"
#include "runtime/mutex.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"

namespace acre::transport {

class VerbsGroup;

struct LaneArrival {
  std::shared_ptr<VerbsGroup> group;
  uint32_t connection = 0;  // Of the queue pair, in the group.
  uint8_t lane = 0;
  std::string private_data;
  std::string peer;                       // Whence it came, for people.
  const CompletionQueue* home = nullptr;  // ConnectionRequest::home().
};

class LaneArrivals {
 public:
  // `fd`: an eventfd, readable while there are arrivals.
  explicit LaneArrivals(ScopedFd fd);
  LaneArrivals(const LaneArrivals&) = delete;
  LaneArrivals& operator=(const LaneArrivals&) = delete;

  int fd() const { return fd_.get(); }
  // False: nobody listens any more.
  bool Push(LaneArrival arrival);
  absl::optional<LaneArrival> Pop();
  // Nobody listens from here on. What was not taken is returned, for the caller to reject.
  std::deque<LaneArrival> Close();

 private:
  const ScopedFd fd_;
  Mutex mutex_;
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<LaneArrival> queue_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_LANE_ARRIVALS_H_
