#include "server/worker.h"

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/wire.h"
#include "runtime/cpus.h"
#include "server/counter.h"
#include "transport/port.h"

namespace acre::server {

namespace {

// How long a worker looks for more before it sleeps. Longer than a client takes to do something with 16 or 32 answers that
// came together, and ask again: one that slept then would be woken for each such batch.
constexpr uint64_t kSpinNs = 50'000;

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(WorkerContext context, int index,
                                                      uint64_t seed) {
  std::unique_ptr<Worker> worker(new Worker(std::move(context), index, seed));
  if (absl::Status opened = worker->OpenDoors(); !opened.ok()) return opened;
  worker->writer_ = std::make_unique<kvs::TableWriter>(
      worker->context_.table, &worker->scheduler_,
      kvs::TableWriter::Options{.holders = worker->context_.transactions->holders()});
  worker->named_locks_ = std::make_unique<LockThread>(
      &worker->scheduler_, worker->context_.named_locks->arena(), LockThread::Options{});
  worker->MakeTransactions(index);
  worker->handler_ =
      std::make_unique<KvHandler>(worker->writer_.get(), &worker->counters_.operations,
                                  worker->context_.stats, worker->context_.cluster);
  worker->socket_server_ =
      std::make_unique<SocketServer>(&worker->scheduler_, worker->handler_.get());
  worker->connections_ = std::make_unique<ConnectionSet>(&worker->scheduler_);
  worker->scheduler_.DetachFromThread();
  if (absl::Status started = worker->StartThread(index); !started.ok()) return started;
  return worker;
}

absl::Status Worker::StartThread(int index) {
  const auto run = [this] { scheduler_.Run(); };
  if (context_.cpus.empty()) {
    thread_ = std::thread(run);
    return absl::OkStatus();
  }
  // A thread begins, and stays, where the one that starts it may run.
  const std::vector<int> everywhere = UsableCpus();
  const int cpu = context_.cpus[static_cast<size_t>(index) % context_.cpus.size()];
  if (absl::Status stays = StayOnCpus({cpu}); !stays.ok()) return stays;
  thread_ = std::thread(run);
  return StayOnCpus(everywhere);
}

void Worker::MakeTransactions(int index) {
  WorkerTransactions::Options options;
  options.scheduler = &scheduler_;
  options.table = context_.table;
  options.holders = context_.transactions->holders();
  options.contended = context_.transactions->contended();
  options.threads = context_.transactions->threads();
  options.worker = index;
  options.self = context_.transactions->self();
  options.close_connection = [this](uint64_t connection) { connections_->Close(connection); };
  transactions_ = std::make_unique<WorkerTransactions>(std::move(options));
}

Worker::Worker(WorkerContext context, int index, uint64_t seed)
    : context_(std::move(context)),
      counters_(),
      scheduler_({.clock = context_.clock,
                  .seed = seed,
                  .poll_mode = context_.poll,
                  .spin_ns = kSpinNs,
                  .name = absl::StrCat("worker ", index)}) {}

absl::Status Worker::OpenDoors() {
  for (const ServedFabric& served : context_.fabrics) {
    auto completion_queue = served.fabric->CreateCompletionQueue();
    if (!completion_queue.ok()) return completion_queue.status();
    auto port = std::make_unique<transport::Port>(&scheduler_, completion_queue->get());
    doors_.push_back({&served, *std::move(completion_queue), std::move(port)});
  }
  return absl::OkStatus();
}

Worker::Door& Worker::DoorOf(absl::string_view fabric) {
  for (Door& door : doors_) {
    if (door.served->fabric->device().provider == fabric) return door;
  }
  LOG(FATAL) << "nobody comes on a fabric that was not offered: " << fabric;
}

void Worker::StopThread() {
  if (!thread_.joinable()) return;
  scheduler_.Stop();
  thread_.join();
  scheduler_.DetachFromThread();  // This thread takes over.
}

void Worker::CloseConnections() {
  for (SpawnHandle& task : welcoming_) task.Cancel();
  connections_.reset();  // Cancels handlers: before the writer that they use.
  socket_server_.reset();
}

void Worker::ForgetAbandonedLocks() {
  named_locks_->ForgetAbandoned();
  transactions_->ForgetAbandonedLocks();
  writer_->ForgetAbandonedLocks();
}

Worker::~Worker() {
  StopThread();
  CloseConnections();
  handler_.reset();
  transactions_.reset();
  named_locks_.reset();
  writer_.reset();
  for (Door& door : doors_) door.port.reset();
}

bool Worker::Polls(const transport::CompletionQueue* completion_queue) const {
  return std::any_of(doors_.begin(), doors_.end(), [completion_queue](const Door& door) {
    return door.completion_queue.get() == completion_queue;
  });
}

void Worker::AddPeer(transport::ArrivingPeer peer) {
  // std::function wants what it holds to be copyable.
  auto shared = std::make_shared<transport::ArrivingPeer>(std::move(peer));
  (void)counters_.peers_welcoming.FetchAdd(1, std::memory_order_relaxed);
  scheduler_.Post([this, shared] {
    welcoming_.remove_if([](const SpawnHandle& task) { return task.done(); });
    welcoming_.push_back(scheduler_.Spawn(Welcome(std::move(*shared))));
  });
}

void Worker::AddSocket(ScopedFd fd) {
  auto shared = std::make_shared<ScopedFd>(std::move(fd));
  scheduler_.Post([this, shared] { socket_server_->AddConnection(shared->Release(), ""); });
}

uint32_t Worker::RightsOfTrusted(const transport::QueuePair& queue_pair) {
  const absl::StatusOr<ProcessHold> hold = ProcessHold::Open(queue_pair.peer_pid());
  LOG_IF_EVERY_N(WARNING, !hold.ok(), 100)
      << "a client is not trusted with this server's memory, and asks by calls only: "
      << hold.status();
  return hold.ok() ? transport::kRightsAll : 0;
}

Task<void> Worker::Welcome(transport::ArrivingPeer peer) {
  const auto left = absl::MakeCleanup([this] {
    (void)counters_.peers_welcoming.FetchAdd(~uint64_t{0}, std::memory_order_relaxed);
  });
  const Door& door = DoorOf(peer.fabric);
  transport::AcceptOptions options;
  options.fabric = door.served->fabric;
  options.port = door.port.get();
  options.channel.region_id = context_.next_region_id();
  options.channel.busy_polling = context_.poll == PollMode::kBusy;
  options.channel.random_seed = scheduler_.random().Next();
  options.regions = door.served->regions;
  const bool takes_locks = context_.lock_home != nullptr && door.served->made_them;
  if (takes_locks) options.facts = kvs::kFactMayWrite;
  // The kernel cannot keep who has such memory mapped from writing.
  if (takes_locks && door.served->fabric->device().can_map) options.rights_for = RightsOfTrusted;
  if (options.channel.region_id == 0) {
    AddToCounter(&counters_.peers_failed, 1);
    co_return;
  }
  const uint32_t process_id = peer.process_id;
  absl::StatusOr<transport::Link> link =
      co_await transport::AcceptPeer(std::move(peer), std::move(options));
  if (!link.ok()) {
    // A peer's doing, as a rule; the count shows it, and whoever looks for the reason.
    VLOG(1) << "a client failed in the handshake: " << link.status();
    AddToCounter(&counters_.peers_failed, 1);
    co_return;
  }
  AddToCounter(&counters_.peers_accepted, 1);
  ConnectionContext connection;
  connection.scheduler = &scheduler_;
  connection.port = door.port.get();
  connection.epochs = &context_.table->epochs();
  connection.id = ++connections_made_;
  connection.seat.home = context_.lock_home;
  if (takes_locks) connection.seat.regions = door.served->regions;
  connection.seat.check_view = ViewCheck(context_.cluster.view);
  connection.seat.close = [this, id = connection.id](std::function<void()> closed) {
    scheduler_.Post([this, id, closed = std::move(closed)] {
      connections_->Close(id);
      closed();
    });
  };
  connection.handler.locks = context_.named_locks;
  connection.handler.thread = named_locks_.get();
  connection.handler.next = handler_.get();
  connection.handler.check_view = ViewCheck(context_.cluster.view);
  connection.handler.share = context_.table->share();
  connection.transactions.worker = transactions_.get();
  connection.transactions.service = context_.transactions;
  connection.transactions.check_view = ViewCheck(context_.cluster.view);
  connection.transactions.process_id = process_id;
  connection.transactions.connection = connection.id;
  connection.open_count = &counters_.peers_open;
  connection.verbs = &counters_.verbs;
  connections_->Add(std::make_unique<Connection>(connection, *std::move(link), process_id));
}

}  // namespace acre::server
