#include "transport/sim/sim_listener.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"
#include "transport/sim/sim_completion_queue.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_network.h"
#include "transport/sim/sim_queue_pair.h"
#include "transport/sim/sim_side.h"

namespace acre::transport {
namespace {

absl::string_view PrefixOf(SimDevice kind) {
  return kind == SimDevice::kCard ? "sim:card:" : "sim:memory:";
}

class SimConnectionRequest final : public ConnectionRequest {
 public:
  SimConnectionRequest(SimContext* context, SimSide* client, std::string private_data)
      : context_(context), client_(client), private_data_(std::move(private_data)) {
    ++context_->live_objects;
  }
  ~SimConnectionRequest() override {
    if (client_ != nullptr) client_->Reject();
    --context_->live_objects;
  }

  absl::string_view private_data() const override { return private_data_; }
  std::string peer() const override { return "a peer in the world"; }

  absl::StatusOr<std::unique_ptr<QueuePair>> Accept(CompletionQueue* completion_queue,
                                                    absl::string_view private_data) override {
    CHECK(client_ != nullptr) << "a connection is accepted once";
    if (private_data.size() > kPrivateDataBytesMax) {
      return absl::InvalidArgumentError("more private data than connecting can carry");
    }
    context_->network->Spend(kSetupNs);
    return SimQueuePair::Accept(context_, completion_queue, std::exchange(client_, nullptr),
                                private_data);
  }

 private:
  SimContext* const context_;
  SimSide* client_;  // Null: accepted.
  const std::string private_data_;
};

}  // namespace

SimListener::SimListener(SimContext* context)
    : context_(context),
      number_(context->network->AddListener(this)),
      descriptor_(context->network->world()) {
  ++context_->live_objects;
}

SimListener::~SimListener() {
  context_->network->RemoveListener(number_);
  Drop(/*tells_clients=*/true);
  --context_->live_objects;
}

std::string SimListener::endpoint() const {
  return absl::StrCat(PrefixOf(context_->kind), number_);
}

absl::optional<uint64_t> SimListener::NumberOf(absl::string_view endpoint, SimDevice kind) {
  uint64_t number;
  if (!absl::ConsumePrefix(&endpoint, PrefixOf(kind)) || !absl::SimpleAtoi(endpoint, &number)) {
    return absl::nullopt;
  }
  return number;
}

std::unique_ptr<ConnectionRequest> SimListener::Poll() {
  context_->network->Spend(kPollNs);
  if (waiting_.empty()) {
    descriptor_.SetReadable(false);
    return nullptr;
  }
  Waiting first = std::move(waiting_.front());
  waiting_.pop_front();
  return std::make_unique<SimConnectionRequest>(context_, first.client,
                                                std::move(first.private_data));
}

void SimListener::Add(SimSide* client, std::string private_data) {
  waiting_.push_back({client, std::move(private_data)});
  descriptor_.SetReadable(true);
}

void SimListener::Drop(bool tells_clients) {
  // Who is not told waits until it has waited enough.
  for (const Waiting& waiting : waiting_) {
    if (tells_clients) {
      waiting.client->Reject();
    } else {
      waiting.client->StartTimeout();
    }
  }
  waiting_.clear();
}

}  // namespace acre::transport
