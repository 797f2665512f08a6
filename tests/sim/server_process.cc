#include "tests/sim/server_process.h"

#include <sys/epoll.h>

#include <cstring>
#include <list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/connection.h"
#include "server/keep_alive.h"
#include "server/kv_handler.h"
#include "tests/sim/cluster.h"
#include "transport/port.h"

namespace acre::simulation {
namespace {

constexpr uint64_t kLookNs = 10 * kUs;  // For what the other end sends over the byte stream.
constexpr uint64_t kLookForStopNs = 200 * kUs;
constexpr uint64_t kHandshakeNs = 200 * kMs;  // The most that the second half of one may take.
constexpr size_t kBallastBytesMax = 64 << 10;
constexpr size_t kBallastBytesMin = 4 << 10;

Task<void> SleepTill(Scheduler* scheduler, uint64_t deadline_ns) {
  co_await scheduler->SleepUntil(deadline_ns);
}

Task<void> WaitForStop(Scheduler* scheduler, const bool* is_requested) {
  while (!*is_requested) co_await scheduler->SleepFor(kLookForStopNs);
}

absl::optional<uint64_t> TokenOf(absl::string_view private_data) {
  uint64_t token;
  if (private_data.size() != sizeof(token)) return absl::nullopt;
  std::memcpy(&token, private_data.data(), sizeof(token));
  return token;
}

}  // namespace

// A thread that serves clients. Made and ended by the service thread, which has its scheduler meanwhile.
class ServerProcess::Worker {
 public:
  Worker(ServerProcess* server, int index)
      : server_(server),
        scheduler_({.clock = server->process_->machine()->clock(),
                    .seed = server->generation_ * 16 + static_cast<uint64_t>(index),
                    .spin_ns = server->cluster_->plan().spin_ns,
                    .name = absl::StrCat("worker ", index)}),
        writer_(server->table_.get(), &scheduler_),
        handler_(&writer_, &counters_, [] { return std::string(); }) {
    auto queue = server->fabric_->CreateCompletionQueue();
    CHECK(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
    port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
    connections_ = std::make_unique<server::ConnectionSet>(&scheduler_);
    scheduler_.DetachFromThread();
  }

  void Start(sim::Process* process, const std::string& name) {
    process->Spawn(name, [this] {
      scheduler_.Run();
      has_ended_ = true;
    });
  }
  void StopThread(sim::World* world) {
    scheduler_.Stop();
    while (!has_ended_) world->Sleep(kLookNs);
    scheduler_.DetachFromThread();
  }
  void CloseConnections() {
    for (SpawnHandle& task : welcoming_) task.Cancel();
    connections_.reset();
  }
  void ForgetAbandonedLocks() { writer_.ForgetAbandonedLocks(); }

  // From the service thread.
  void AddPeer(std::shared_ptr<transport::ConnectionRequest> request, std::shared_ptr<Call> call,
               uint32_t region_id) {
    scheduler_.Post([this, request, call, region_id] {
      welcoming_.remove_if([](const SpawnHandle& task) { return task.done(); });
      welcoming_.push_back(scheduler_.Spawn(Welcome(request, call, region_id)));
    });
  }
  uint64_t connections_open() const { return connections_open_.Load(std::memory_order_relaxed); }

 private:
  // The second half of the handshake, as transport::AcceptPeer has it.
  Task<void> Welcome(std::shared_ptr<transport::ConnectionRequest> request,
                     std::shared_ptr<Call> call, uint32_t region_id) {
    auto queue_pair = request->Accept(queue_.get(), "");
    if (!queue_pair.ok()) co_return;
    transport::Link link(port_.get(), *std::move(queue_pair));
    transport::ChannelOptions options;
    options.region_id = region_id;
    options.ring_bytes = server_->cluster_->plan().ring_bytes;
    options.random_seed = scheduler_.random().Next();
    auto channel = transport::Channel::Create(server_->fabric_.get(), link.queue_pair(), options);
    if (!channel.ok()) co_return;
    link.set_channel(*std::move(channel));
    transport::Setup setup;
    setup.offer = link.channel()->offer();
    for (const transport::MemoryRegion* region : server_->borrowed_regions_) {
      const auto key = link.queue_pair()->Grant(*region, transport::kRightRead);
      if (!key.ok()) co_return;
      setup.regions.push_back({region->region_id(), *key, region->size_bytes()});
    }
    const uint64_t deadline_ns = scheduler_.NowNs() + kHandshakeNs;
    while (!call->offer.has_value()) {
      if (scheduler_.NowNs() > deadline_ns) co_return;
      co_await scheduler_.SleepFor(kLookNs);
    }
    const absl::Status attached = link.channel()->Attach(*call->offer);
    CHECK(attached.ok()) << attached;
    server_->cluster_->door()->SendSetup(call, std::move(setup));
    server::ConnectionContext context;
    context.scheduler = &scheduler_;
    context.port = port_.get();
    context.epochs = &server_->table_->epochs();
    context.handler.locks = &named_locks_;
    context.handler.thread = &lock_thread_;
    context.handler.next = &handler_;
    context.open_count = &connections_open_;
    connections_->Add(std::make_unique<server::Connection>(context, std::move(link), 0));
  }

  ServerProcess* const server_;
  Scheduler scheduler_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  kvs::TableWriter writer_;
  server::OperationCounters counters_ = {};
  server::KvHandler handler_;
  // Nobody takes locks by name in here.
  server::NamedLocks named_locks_{scheduler_.clock(), [] { return uint64_t{1}; }};
  LockThread lock_thread_{&scheduler_, named_locks_.arena(), {}};
  SharedWord connections_open_;  // Stored by this thread, loaded by judges.
  std::unique_ptr<server::ConnectionSet> connections_;
  std::list<SpawnHandle> welcoming_;
  bool has_ended_ = false;  // Set by its thread in its last step, looked at by the service thread.
};

ServerProcess::ServerProcess(Cluster* cluster, sim::Process* process, uint64_t generation)
    : cluster_(cluster),
      process_(process),
      generation_(generation),
      scheduler_({.clock = process->machine()->clock(),
                  .seed = generation,
                  .spin_ns = cluster->plan().spin_ns,
                  .name = "service thread"}) {}

ServerProcess::~ServerProcess() = default;

void ServerProcess::Run() {
  MakeMemory();
  TakeBallast();
  StartWorkers();
  cluster_->OnServerReady(this);
  WaitOutLease();
  OpenDoor();
  scheduler_.RunUntilDone(WaitForStop(&scheduler_, &is_stop_requested_));
  Stop();
}

void ServerProcess::MakeMemory() {
  const Plan& plan = cluster_->plan();
  transport::SimFabric::Options options;
  options.device = plan.device;
  options.generation = generation_;
  options.marks_deaths = plan.marks_deaths;
  auto fabric = transport::SimFabric::Create(cluster_->network(), process_, options);
  CHECK(fabric.ok()) << fabric.status();
  fabric_ = *std::move(fabric);
  for (int i = 0; i < plan.segments; ++i) {
    transport::RegionOptions region_options;
    region_options.region_id = ++region_ids_;
    region_options.size_bytes = kSegmentBytes;
    region_options.peer_rights = transport::kRightRead;
    // Cards do not look at leases, they stop with their region.
    region_options.lease_ns =
        plan.device == transport::SimDevice::kSharedMemory ? plan.lease_ns : 0;
    region_options.death_mark = true;
    auto region = fabric_->CreateRegion(region_options);
    CHECK(region.ok()) << region.status();
    regions_.push_back(*std::move(region));
    borrowed_regions_.push_back(regions_.back().get());
    cluster_->world()->NameMemory(regions_.back()->words(), kSegmentBytes,
                                  absl::StrCat("segment", generation_, ".", i));
  }
  auto table = kvs::Table::Create({.index_percent = kIndexPercent}, borrowed_regions_);
  CHECK(table.ok()) << table.status();
  table_ = *std::move(table);
}

// Takes memory off the heaps, in large pieces and then in small ones, till little is left.
void ServerProcess::TakeBallast() {
  const uint64_t spare_bytes = cluster_->plan().spare_heap_bytes;
  if (spare_bytes == 0) return;
  for (const auto& segment : table_->segments()) {
    for (size_t bytes = kBallastBytesMax; bytes >= kBallastBytesMin; bytes /= 4) {
      while (segment->heap().stats().bytes_free > spare_bytes + bytes) {
        const auto offset = segment->heap().Allocate(bytes);
        if (!offset.has_value()) break;
        ballast_.push_back({segment.get(), *offset, bytes});
      }
    }
  }
}

void ServerProcess::GiveBackBallast() {
  for (const Ballast& taken : ballast_) taken.segment->heap().Free(taken.offset, taken.bytes);
  ballast_.clear();
}

void ServerProcess::StartWorkers() {
  for (int i = 0; i < cluster_->plan().threads; ++i) {
    workers_.push_back(std::make_unique<Worker>(this, i));
    workers_.back()->Start(process_, absl::StrCat("worker", i));
  }
}

void ServerProcess::WaitOutLease() {
  const uint64_t lease_ns = cluster_->lease_to_wait_out_ns();
  if (lease_ns == 0) return;
  scheduler_.RunUntilDone(SleepTill(&scheduler_, scheduler_.NowNs() + lease_ns));
}

void ServerProcess::OpenDoor() {
  server::RenewLeases(borrowed_regions_, scheduler_.NowNs());
  auto listener = fabric_->Listen();
  CHECK(listener.ok()) << listener.status();
  listener_ = *std::move(listener);
  const absl::Status watched =
      scheduler_.WatchFd(listener_->fd(), EPOLLIN, [this](uint32_t) { OnListener(); });
  CHECK(watched.ok()) << watched;
  scheduler_
      .Spawn(server::KeepAlive(&scheduler_, &table_->epochs(), borrowed_regions_,
                               cluster_->plan().lease_ns))
      .Detach();
  cluster_->OnServerOpen();
  cluster_->door()->Open(process_, {listener_->endpoint(), generation_, cluster_->plan().lease_ns});
}

void ServerProcess::OnListener() {
  while (std::shared_ptr<transport::ConnectionRequest> request = listener_->Poll()) {
    const absl::optional<uint64_t> token = TokenOf(request->private_data());
    if (!token.has_value()) continue;
    std::shared_ptr<Call> call = cluster_->door()->Take(*token);
    if (call == nullptr) continue;
    workers_[peers_++ % workers_.size()]->AddPeer(std::move(request), std::move(call),
                                                  ++region_ids_);
  }
}

void ServerProcess::Stop() {
  cluster_->door()->Close();
  scheduler_.UnwatchFd(listener_->fd());
  listener_.reset();
  for (const auto& worker : workers_) worker->StopThread(cluster_->world());
  for (const auto& worker : workers_) worker->CloseConnections();
  for (const auto& worker : workers_) worker->ForgetAbandonedLocks();
  cluster_->OnServerStopping();
  workers_.clear();
  table_.reset();
  for (const auto& region : regions_) cluster_->world()->ForgetMemory(region->words());
  regions_.clear();
  fabric_.reset();
}

uint64_t ServerProcess::connections_open() const {
  uint64_t count = 0;
  for (const auto& worker : workers_) count += worker->connections_open();
  return count;
}

}  // namespace acre::simulation
