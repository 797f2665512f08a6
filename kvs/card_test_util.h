// TestCard: a queue pair and its completion queue in one, for tests of readers on cards that shm is
// not: what a READ does and when it completes is the derived class's business.
// Whoever waits for it polls (PollMode::kBusy): Arm() does nothing, and fd() never becomes readable.

#ifndef ACRE_KVS_CARD_TEST_UTIL_H_
#define ACRE_KVS_CARD_TEST_UTIL_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "transport/fabric.h"

namespace acre::kvs {

class TestCard : public transport::QueuePair, public transport::CompletionQueue {
 public:
  TestCard() : fd_(eventfd(0, 0)) {}
  ~TestCard() override { close(fd_); }

  size_t Poll(absl::Span<transport::Completion> completions) override {
    if (completions_.empty()) return 0;
    completions[0] = completions_.front();
    completions_.pop_front();
    return 1;
  }
  void Arm() override {}
  void Disarm() override {}
  int fd() const override { return fd_; }

  absl::StatusOr<transport::RemoteKey> Grant(const transport::MemoryRegion&, uint32_t) override {
    return absl::InternalError("not of this card");
  }
  absl::StatusOr<transport::MappedRegion> Map(transport::RemoteKey) override {
    return absl::InternalError("not of this card");
  }
  transport::QueuePairState state() const override { return transport::QueuePairState::kReady; }
  absl::Status status() const override { return absl::OkStatus(); }
  absl::string_view peer_private_data() const override { return ""; }
  int peer_pid() const override { return 0; }

 protected:
  void Complete(const transport::WorkRequest& request) {
    if (request.signaled) completions_.push_back({.id = request.id, .queue_pair = this});
  }
  bool has_completions() const { return !completions_.empty(); }

 private:
  const int fd_;
  std::deque<transport::Completion> completions_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_CARD_TEST_UTIL_H_
