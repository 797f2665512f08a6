#include "tests/sim/connector.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/deadline.h"
#include "tests/sim/plan.h"

namespace acre::simulation {
namespace {

constexpr uint64_t kLookNs = 10 * kUs;
constexpr uint64_t kAttemptNs = 100 * kMs;
constexpr uint64_t kBackoffNsMin = 200 * kUs;
constexpr uint64_t kBackoffNsMax = 10 * kMs;

absl::string_view TokenBytes(const uint64_t& token) {
  return {reinterpret_cast<const char*>(&token), sizeof(token)};
}

}  // namespace

Connector::Connector(const Options& options, Door* door, sim::Process* process,
                     sim::Machine* server, Scheduler* scheduler, transport::SimFabric* fabric,
                     transport::Port* port)
    : options_(options),
      door_(door),
      process_(process),
      server_(server),
      scheduler_(scheduler),
      fabric_(fabric),
      port_(port),
      next_region_id_(options.first_region_id),
      attempt_over_(scheduler) {}

Connector::~Connector() {
  attempt_.Cancel();
  Drop();
}

Task<std::shared_ptr<FabricBackend>> Connector::Connection(uint64_t deadline_ns) {
  if (is_connected()) co_return backend_;
  Drop();
  if (attempt_.done()) attempt_ = scheduler_->Spawn(Attempt());
  Task<void> over = AttemptOver();
  const absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, std::move(over));
  std::shared_ptr<FabricBackend> result;
  if (waited.ok() && is_connected()) result = backend_;
  co_return result;
}

void Connector::Drop() {
  if (backend_ == nullptr) return;
  const kvs::ReaderStats stats = backend_->reader_stats();
  stats_.gets += stats.gets;
  stats_.reads += stats.reads;
  stats_.retries += stats.retries;
  stats_.misses += stats.misses;
  backend_.reset();
}

Task<void> Connector::AttemptOver() { co_await attempt_over_.Wait(); }

Task<void> Connector::Attempt() {
  if (backoff_ns_ != 0) co_await scheduler_->SleepFor(backoff_ns_);
  absl::StatusOr<std::shared_ptr<FabricBackend>> made =
      co_await MakeBackend(scheduler_->NowNs() + kAttemptNs);
  last_attempt_ = made.status();
  if (made.ok()) {
    backend_ = *std::move(made);
    backoff_ns_ = 0;
  } else {
    backoff_ns_ = std::clamp(2 * backoff_ns_, kBackoffNsMin, kBackoffNsMax);
  }
  attempt_over_.NotifyAll();
}

Task<absl::Status> Connector::AwaitGreeting(std::shared_ptr<Call> call, uint64_t deadline_ns) {
  while (!call->greeting.has_value()) {
    if (call->is_refused) co_return absl::UnavailableError("nobody listens");
    if (scheduler_->NowNs() > deadline_ns) co_return absl::DeadlineExceededError("no greeting");
    co_await scheduler_->SleepFor(kLookNs);
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<transport::Link>> Connector::OpenLink(std::shared_ptr<Call> call,
                                                          uint64_t deadline_ns) {
  auto queue_pair = fabric_->Connect(call->greeting->endpoint, port_->completion_queue(),
                                     TokenBytes(call->token));
  if (!queue_pair.ok()) co_return queue_pair.status();
  transport::Link link(port_, *std::move(queue_pair));
  while (link.queue_pair()->state() == transport::QueuePairState::kConnecting) {
    if (scheduler_->NowNs() > deadline_ns) co_return absl::DeadlineExceededError("no connection");
    co_await scheduler_->SleepFor(kLookNs);
  }
  if (link.queue_pair()->state() != transport::QueuePairState::kReady) {
    co_return link.queue_pair()->status();
  }
  co_return link;
}

Task<absl::Status> Connector::AwaitSetup(std::shared_ptr<Call> call, uint64_t deadline_ns) {
  while (!call->setup.has_value()) {
    if (call->is_refused) co_return absl::UnavailableError("the server hung up");
    if (scheduler_->NowNs() > deadline_ns) co_return absl::DeadlineExceededError("no setup");
    co_await scheduler_->SleepFor(kLookNs);
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<std::shared_ptr<FabricBackend>>> Connector::MakeBackend(uint64_t deadline_ns) {
  std::shared_ptr<Call> call = door_->Dial(process_, server_, options_.claimed_id);
  absl::Status status = co_await AwaitGreeting(call, deadline_ns);
  if (!status.ok()) co_return status;
  absl::StatusOr<transport::Link> link = co_await OpenLink(call, deadline_ns);
  if (!link.ok()) co_return link.status();
  transport::ChannelOptions options;
  options.region_id = next_region_id_;
  options.ring_bytes = options_.ring_bytes;
  options.random_seed = scheduler_->random().Next();
  auto channel = transport::Channel::Create(fabric_, link->queue_pair(), options);
  if (!channel.ok()) co_return channel.status();
  link->set_channel(*std::move(channel));
  door_->SendOffer(call, link->channel()->offer());
  status = co_await AwaitSetup(call, deadline_ns);
  if (!status.ok()) co_return status;
  status = link->channel()->Attach(call->setup->offer);
  if (!status.ok()) co_return status;

  transport::ConnectedPeer peer;
  peer.generation = call->greeting->generation;
  peer.lease_ns = call->greeting->lease_ns;
  peer.link = *std::move(link);
  peer.regions = call->setup->regions;
  peer.place = options_.place;
  FabricBackend::Options backend_options;
  backend_options.path = options_.path;
  backend_options.region_id = next_region_id_ + 1;
  backend_options.operation_timeout_ns = options_.timeout_ns;
  backend_options.deadline_ns = deadline_ns;
  next_region_id_ += FabricBackend::kRegionIds;
  const uint64_t generation = peer.generation;
  absl::StatusOr<std::shared_ptr<FabricBackend>> made =
      co_await FabricBackend::Create(fabric_, port_, std::move(peer), backend_options);
  if (made.ok()) generation_ = generation;
  co_return made;
}

}  // namespace acre::simulation
