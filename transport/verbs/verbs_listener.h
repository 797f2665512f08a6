// VerbsListener: where verbs peers connect, at an address of its card.
//
// Ownership:  borrows the context. Requests that it returned outlive it.
// Threads:    one at a time.

#ifndef ACRE_TRANSPORT_VERBS_VERBS_LISTENER_H_
#define ACRE_TRANSPORT_VERBS_VERBS_LISTENER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/verbs/lane_arrivals.h"
#include "transport/verbs/verbs_context.h"

namespace acre::transport {

// "verbs:10.9.9.1:40123", "verbs:[fd00::1]:40123".
constexpr absl::string_view kVerbsEndpointPrefix = "verbs:";
// Errors: InvalidArgument - not one.
absl::StatusOr<CmAddress> ParseVerbsEndpoint(absl::string_view endpoint);

class VerbsListener final : public Listener {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsListener>> Create(VerbsContext* context);
  ~VerbsListener() override;

  std::string endpoint() const override;
  int fd() const override { return epoll_fd_.get(); }
  std::unique_ptr<ConnectionRequest> Poll() override;

 private:
  VerbsListener(VerbsContext* context, std::shared_ptr<rdma_event_channel> channel, CmId id,
                ScopedFd epoll_fd, std::shared_ptr<LaneArrivals> arrivals);
  // The next that rdma_cm brings, or null.
  std::unique_ptr<ConnectionRequest> PollCm();

  VerbsContext* const context_;
  // The kernel drops all ids of a channel that closes: requests keep it open.
  std::shared_ptr<rdma_event_channel> channel_;
  CmId id_;
  ScopedFd epoll_fd_;                             // Of both sources:
  const std::shared_ptr<LaneArrivals> arrivals_;  // on queue pairs that are there.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_VERBS_VERBS_LISTENER_H_
