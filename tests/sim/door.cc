#include "tests/sim/door.h"

#include <utility>

#include "tests/sim/plan.h"

namespace acre::simulation {
namespace {

constexpr uint64_t kNearNs = 10 * kUs;
constexpr uint64_t kFarNs = 60 * kUs;
constexpr uint64_t kSendAgainNs = 1 * kMs;

}  // namespace

void Door::Open(sim::Process* server, Greeting greeting) {
  server_ = server;
  greeting_ = std::move(greeting);
}

void Door::Close() {
  if (server_ == nullptr) return;
  const bool is_crashed = server_->machine()->is_crashed();
  server_ = nullptr;
  for (const auto& entry : calls_) taken_.push_back(entry.second);
  calls_.clear();
  for (const std::weak_ptr<Call>& weak : std::exchange(taken_, {})) {
    const std::shared_ptr<Call> call = weak.lock();
    if (call == nullptr || is_crashed) continue;
    Send(call->server, call->client, [call] { call->is_refused = true; });
  }
}

std::shared_ptr<Call> Door::Take(uint64_t token) {
  const auto found = calls_.find(token);
  if (found == calls_.end()) return nullptr;
  const std::shared_ptr<Call> call = found->second;
  calls_.erase(found);
  std::erase_if(taken_, [](const std::weak_ptr<Call>& weak) { return weak.expired(); });
  taken_.push_back(call);
  return call;
}

void Door::SendSetup(std::shared_ptr<Call> call, transport::Setup setup) {
  Send(call->server, call->client,
       [call, setup = std::move(setup)]() mutable { call->setup = std::move(setup); });
}

std::shared_ptr<Call> Door::Dial(sim::Process* client, sim::Machine* server, uint32_t claimed_id) {
  auto call = std::make_shared<Call>();
  call->process_id = claimed_id == 0 ? client->id() : claimed_id;
  call->client = client->machine();
  call->server = server;
  Send(call->client, call->server, [this, call] { Answer(call); });
  return call;
}

void Door::Answer(const std::shared_ptr<Call>& call) {
  if (call->server->is_crashed()) return;
  if (server_ == nullptr) {
    return Send(call->server, call->client, [call] { call->is_refused = true; });
  }
  if (server_->is_paused()) {
    // The kernel takes the connection; the service thread, which stands still, answers when it goes on.
    network_->world()->After(kSendAgainNs, [this, call] { Answer(call); });
    return;
  }
  call->token = network_->random().Next();
  calls_[call->token] = call;
  Send(call->server, call->client, [call, greeting = greeting_] { call->greeting = greeting; });
}

void Door::SendOffer(std::shared_ptr<Call> call, const transport::ChannelOffer& offer) {
  Send(call->client, call->server, [call, offer] { call->offer = offer; });
}

void Door::Send(sim::Machine* from, sim::Machine* to, std::function<void()> land) {
  const uint64_t delay_ns = network_->Vary(from == to ? kNearNs : kFarNs);
  network_->world()->After(delay_ns, [this, from, to, land = std::move(land)]() mutable {
    Deliver(from, to, std::move(land));
  });
}

void Door::Deliver(sim::Machine* from, sim::Machine* to, std::function<void()> land) {
  if (network_->IsOpen(from, to)) return land();
  network_->world()->After(kSendAgainNs, [this, from, to, land = std::move(land)]() mutable {
    Deliver(from, to, std::move(land));
  });
}

}  // namespace acre::simulation
