// ViewCheck: whether a request came in a frame of the server's own view (docs/cluster.md).
//
// Threads:   the worker's.
// Ownership: borrows the counter.

#ifndef ACRE_SERVER_VIEW_CHECK_H_
#define ACRE_SERVER_VIEW_CHECK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/shared_word.h"
#include "server/counter.h"
#include "transport/server_place.h"

namespace acre::server {

class ViewCheck {
 public:
  // `refused`: how many were of another view. The worker alone stores it. Null: nobody wants to know.
  explicit ViewCheck(uint64_t view = 0, SharedWord* refused = nullptr)
      : view_(view), refused_(refused) {}

  // OutOfRange: of another view.
  absl::Status operator()(uint64_t view) const {
    if (view == view_) [[likely]]
      return absl::OkStatus();
    if (refused_ != nullptr) AddToCounter(refused_);
    return transport::OtherView(view_, view);
  }
  uint64_t view() const { return view_; }

 private:
  uint64_t view_;
  SharedWord* refused_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_VIEW_CHECK_H_
