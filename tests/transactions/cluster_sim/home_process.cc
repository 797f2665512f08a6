#include "tests/transactions/cluster_sim/home_process.h"

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
#include "tests/transactions/cluster_sim/scene.h"

namespace acre::cluster_sim {
namespace {

constexpr uint64_t kLookNs = 10 * kUs;        // For what the other end sends over the byte stream.
constexpr uint64_t kHandshakeNs = 200 * kMs;  // The most that the second half of one may take.
constexpr uint64_t kOperatorNs = 20 * kMs;
constexpr uint32_t kRegionIdsOfConnector = 1'000'000;

absl::optional<uint64_t> TokenOf(absl::string_view private_data) {
  uint64_t token;
  if (private_data.size() != sizeof(token)) return absl::nullopt;
  std::memcpy(&token, private_data.data(), sizeof(token));
  return token;
}

}  // namespace

// A thread that serves clients. Made by the service thread, which has its scheduler meanwhile.
class HomeProcess::Worker {
 public:
  Worker(HomeProcess* home, int index)
      : home_(home),
        scheduler_({.clock = home->process_->machine()->clock(),
                    .seed = home->generation_ * 16 + static_cast<uint64_t>(index),
                    .spin_ns = home->scene_->plan().spin_ns,
                    .name = absl::StrCat("worker ", index)}),
        writer_(home->table_.get(), &scheduler_, {.holders = home->service_->holders()}),
        transactions_(TransactionsOptions(index)),
        handler_(&writer_, &counters_, [] { return std::string(); }, {kView, std::string()}) {
    auto queue = home->fabric_->CreateCompletionQueue();
    CHECK(queue.ok()) << queue.status();
    queue_ = *std::move(queue);
    port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
    connections_ = std::make_unique<server::ConnectionSet>(&scheduler_);
    scheduler_.DetachFromThread();
  }

  void Start(sim::Process* process, const std::string& name) {
    process->Spawn(name, [this] { scheduler_.Run(); });
  }
  // From the service thread.
  void AddPeer(std::shared_ptr<transport::ConnectionRequest> request,
               std::shared_ptr<simulation::Call> call, uint32_t region_id) {
    scheduler_.Post([this, request, call, region_id] {
      welcoming_.remove_if([](const SpawnHandle& task) { return task.done(); });
      welcoming_.push_back(scheduler_.Spawn(Welcome(request, call, region_id)));
    });
  }
  // From any thread of the process.
  void GiveUp(uint32_t process_id) {
    scheduler_.Post([this, process_id] {
      std::vector<uint64_t> ids;
      for (const auto& [process, id] : peers_) {
        if (process == process_id) ids.push_back(id);
      }
      for (const uint64_t id : ids) connections_->Close(id);
    });
  }

  server::WorkerTransactions* transactions() { return &transactions_; }
  uint64_t connections_open() const { return connections_open_.Load(std::memory_order_relaxed); }

 private:
  server::WorkerTransactions::Options TransactionsOptions(int index) {
    server::WorkerTransactions::Options options;
    options.scheduler = &scheduler_;
    options.table = home_->table_.get();
    options.holders = home_->service_->holders();
    options.contended = home_->service_->contended();
    options.threads = home_->service_->threads();
    options.worker = index;
    options.self = home_->self();
    options.close_connection = [this](uint64_t connection) { connections_->Close(connection); };
    return options;
  }

  // The second half of the handshake, as transport::AcceptPeer has it.
  Task<void> Welcome(std::shared_ptr<transport::ConnectionRequest> request,
                     std::shared_ptr<simulation::Call> call, uint32_t region_id) {
    auto queue_pair = request->Accept(queue_.get(), "");
    if (!queue_pair.ok()) co_return;
    transport::Link link(port_.get(), *std::move(queue_pair));
    transport::ChannelOptions options;
    options.region_id = region_id;
    options.ring_bytes = home_->scene_->plan().ring_bytes;
    options.random_seed = scheduler_.random().Next();
    auto channel = transport::Channel::Create(home_->fabric_.get(), link.queue_pair(), options);
    if (!channel.ok()) co_return;
    link.set_channel(*std::move(channel));
    transport::Setup setup;
    setup.offer = link.channel()->offer();
    const transport::MemoryRegion& region = *home_->region_;
    const auto key = link.queue_pair()->Grant(region, transport::kRightRead);
    if (!key.ok()) co_return;
    setup.regions.push_back({region.region_id(), *key, region.size_bytes()});
    const uint64_t deadline_ns = scheduler_.NowNs() + kHandshakeNs;
    while (!call->offer.has_value()) {
      if (scheduler_.NowNs() > deadline_ns) co_return;
      co_await scheduler_.SleepFor(kLookNs);
    }
    const absl::Status attached = link.channel()->Attach(*call->offer);
    CHECK(attached.ok()) << attached;
    home_->scene_->door(home_->index_)->SendSetup(call, std::move(setup));
    AddConnection(std::move(link), call->process_id);
  }

  void AddConnection(transport::Link link, uint32_t process_id) {
    server::ConnectionContext context;
    context.id = ++connections_made_;
    context.scheduler = &scheduler_;
    context.port = port_.get();
    context.epochs = &home_->table_->epochs();
    context.seat.check_view = server::ViewCheck(kView);
    context.handler.locks = &named_locks_;
    context.handler.thread = &lock_thread_;
    context.handler.next = &handler_;
    context.handler.check_view = server::ViewCheck(kView);
    context.handler.share = home_->table_->share();
    context.transactions.worker = &transactions_;
    context.transactions.service = home_->service_.get();
    context.transactions.check_view = server::ViewCheck(kView);
    context.transactions.process_id = process_id;
    context.transactions.connection = context.id;
    context.open_count = &connections_open_;
    peers_.emplace_back(process_id, context.id);
    connections_->Add(std::make_unique<server::Connection>(context, std::move(link), process_id));
  }

  HomeProcess* const home_;
  Scheduler scheduler_;
  std::unique_ptr<transport::CompletionQueue> queue_;
  std::unique_ptr<transport::Port> port_;
  kvs::TableWriter writer_;
  server::WorkerTransactions transactions_;
  server::OperationCounters counters_ = {};
  server::KvHandler handler_;
  // Nobody takes locks by name in here.
  server::NamedLocks named_locks_{scheduler_.clock(), [] { return uint64_t{1}; }};
  LockThread lock_thread_{&scheduler_, named_locks_.arena(), {}};
  SharedWord connections_open_;  // Stored by this thread, loaded by judges.
  uint64_t connections_made_ = 0;
  std::vector<std::pair<uint32_t, uint64_t>> peers_;  // All that came: process, connection.
  std::unique_ptr<server::ConnectionSet> connections_;
  std::list<SpawnHandle> welcoming_;
};

HomeProcess::HomeProcess(Scene* scene, sim::Process* process, size_t index, uint64_t generation)
    : scene_(scene),
      process_(process),
      index_(index),
      generation_(generation),
      scheduler_({.clock = process->machine()->clock(),
                  .seed = generation,
                  .spin_ns = scene->plan().spin_ns,
                  .name = "service thread"}) {}

HomeProcess::~HomeProcess() = default;

kvs::TransactionParticipant HomeProcess::self() const {
  return {static_cast<uint32_t>(index_), generation_};
}

void HomeProcess::Run() {
  MakeMemory();
  service_ = std::make_unique<server::TransactionService>(self(), std::vector<std::string>());
  StartWorkers();
  StartEnds();
  OpenDoor();
  scheduler_.Spawn(Operate()).Detach();
  scene_->OnHomeOpen(index_, this);
  scheduler_.Run();
}

void HomeProcess::MakeMemory() {
  const ClusterPlan& plan = scene_->plan();
  transport::SimFabric::Options options;
  options.device = plan.device;
  options.generation = generation_;
  auto fabric = transport::SimFabric::Create(scene_->network(), process_, options);
  CHECK(fabric.ok()) << fabric.status();
  fabric_ = *std::move(fabric);
  transport::RegionOptions region_options;
  region_options.region_id = ++region_ids_;
  region_options.size_bytes = kSegmentBytes;
  region_options.peer_rights = transport::kRightRead;
  region_options.death_mark = true;
  auto region = fabric_->CreateRegion(region_options);
  CHECK(region.ok()) << region.status();
  region_ = *std::move(region);
  regions_.push_back(region_.get());
  scene_->world()->NameMemory(region_->words(), kSegmentBytes,
                              absl::StrCat("home", index_, ".", process_->id()));
  const kvs::KeyShare share{plan.homes, index_};
  auto table = kvs::Table::Create({.index_percent = kIndexPercent, .share = share}, regions_);
  CHECK(table.ok()) << table.status();
  table_ = *std::move(table);
}

void HomeProcess::StartWorkers() {
  for (int i = 0; i < scene_->plan().workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(this, i));
    service_->Add(workers_.back()->transactions());
  }
}

void HomeProcess::StartEnds() {
  auto queue = fabric_->CreateCompletionQueue();
  CHECK(queue.ok()) << queue.status();
  queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(&scheduler_, queue_.get());
  std::vector<std::unique_ptr<simulation::Connector>> connectors;
  for (size_t i = 0; i < scene_->plan().homes; ++i) {
    connectors.emplace_back();
    if (i == index_) continue;
    connectors.back() = std::make_unique<simulation::Connector>(
        scene_->ConnectorOptions(i, Path::kRpc,
                                 kRegionIdsOfConnector * (1 + static_cast<uint32_t>(i))),
        scene_->door(i), process_, scene_->home_machine(i), &scheduler_, fabric_.get(),
        port_.get());
  }
  local_ = std::make_unique<server::LocalWorkers>(&scheduler_, service_.get());
  others_ = std::make_unique<SimulatedOtherHomes>(&scheduler_, std::move(connectors));
  ends_ =
      std::make_unique<server::TransactionEnds>(&scheduler_, self(), local_.get(), others_.get());
  service_->SetLost(ends_.get());
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->Start(process_, absl::StrCat("worker", i));
  }
}

void HomeProcess::OpenDoor() {
  server::RenewLeases(regions_, scheduler_.NowNs());
  auto listener = fabric_->Listen();
  CHECK(listener.ok()) << listener.status();
  listener_ = *std::move(listener);
  const absl::Status watched =
      scheduler_.WatchFd(listener_->fd(), EPOLLIN, [this](uint32_t) { OnListener(); });
  CHECK(watched.ok()) << watched;
  scheduler_
      .Spawn(server::KeepAlive(&scheduler_, &table_->epochs(), regions_, scene_->plan().lease_ns))
      .Detach();
  scene_->door(index_)->Open(process_,
                             {listener_->endpoint(), generation_, scene_->plan().lease_ns});
}

void HomeProcess::OnListener() {
  while (std::shared_ptr<transport::ConnectionRequest> request = listener_->Poll()) {
    const absl::optional<uint64_t> token = TokenOf(request->private_data());
    if (!token.has_value()) continue;
    std::shared_ptr<simulation::Call> call = scene_->door(index_)->Take(*token);
    if (call == nullptr) continue;
    workers_[peers_++ % workers_.size()]->AddPeer(std::move(request), std::move(call),
                                                  ++region_ids_);
  }
}

Task<void> HomeProcess::Operate() {
  while (!scene_->is_operator_due()) co_await scheduler_.SleepFor(kOperatorNs);
  const std::vector<kvs::OpenTransaction> open = co_await service_->AllOpen(&scheduler_);
  for (const kvs::OpenTransaction& transaction : open) {
    if (!scene_->NamesLostHome(transaction.participants)) continue;
    const absl::Status ended =
        co_await service_->End(&scheduler_, transaction.id, /*commit=*/false);
    if (ended.ok()) scene_->CountEvent("ended by an operator");
    if (!ended.ok()) {
      scene_->Report(Judge::kAgreement,
                     absl::StrCat("an operator can not end ", transaction.id.ToString(), ": ",
                                  ended.ToString()));
    }
  }
}

void HomeProcess::GiveUp(uint32_t process_id) {
  process_->Spawn("gives up", [this, process_id] {
    for (const auto& worker : workers_) worker->GiveUp(process_id);
  });
}

uint64_t HomeProcess::connections_open() const {
  uint64_t count = 0;
  for (const auto& worker : workers_) count += worker->connections_open();
  return count;
}

uint64_t HomeProcess::open_count() const {
  uint64_t count = 0;
  for (const auto& worker : workers_) count += worker->transactions()->home()->open_count();
  return count;
}

uint64_t HomeProcess::holds_count() const {
  uint64_t count = 0;
  for (const auto& worker : workers_) count += worker->transactions()->home()->holds_count();
  return count;
}

uint64_t HomeProcess::kept_count() const {
  uint64_t count = 0;
  for (const auto& worker : workers_) count += worker->transactions()->home()->kept_count();
  return count;
}

bool HomeProcess::Knows(const kvs::TransactionThread& thread) const {
  return service_->threads()->Find(thread).has_value();
}

void HomeProcess::Count() const {
  const server::TransactionEnds::Counts counts = ends_->counts();
  scene_->CountEvent("ended by homes: committed", counts.resolved_commit);
  scene_->CountEvent("ended by homes: aborted", counts.resolved_abort);
  const auto count = [this](const char* what, SharedWord server::TransactionCounters::*counter) {
    for (const auto& worker : workers_) {
      scene_->CountEvent(
          what, (worker->transactions()->counters()->*counter).Load(std::memory_order_relaxed));
    }
  };
  count("holds", &server::TransactionCounters::holds);
  count("promised", &server::TransactionCounters::promised);
  count("notices refused", &server::TransactionCounters::refused);
  count("coordinators lost", &server::TransactionCounters::coordinators_lost);
  count("votes: locked", &server::TransactionCounters::votes_locked);
  count("votes: changed", &server::TransactionCounters::votes_changed);
}

}  // namespace acre::cluster_sim
