#include "server/server.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "kvs/socket_wire.h"
#include "kvs/wire.h"
#include "runtime/cpus.h"
#include "server/keep_alive.h"
#include "server/machine.h"
#include "server/memory.h"
#include "server/size.h"
#include "transport/address.h"
#include "transport/bootstrap_wire.h"
#include "transport/region_header.h"
#include "transport/region_lease.h"

namespace acre::server {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kLookForStopNs = 50 * kNsPerMs;

uint64_t Load(const SharedWord& counter) { return counter.Load(std::memory_order_relaxed); }

Task<void> SleepTill(Scheduler* scheduler, uint64_t deadline_ns) {
  co_await scheduler->SleepUntil(deadline_ns);
}

}  // namespace

// Gives what comes in to the workers in turn; a thread of a client that shares a queue pair with others, to the
// worker, or the workers, that have it.
class Server::Door : public transport::BootstrapServer::Delegate {
 public:
  // `maker`: the fabric that made the memory.
  Door(const std::vector<std::unique_ptr<Worker>>* workers, LockHome* lock_home, std::string maker)
      : workers_(*workers), lock_home_(lock_home), maker_(std::move(maker)) {}

  absl::Status MayEnter(const transport::Hello& hello) override {
    if (hello.is_control) {
      if (absl::Status status = MayWrite(hello); !status.ok()) return status;
    }
    uint64_t peers = 0;
    for (const auto& worker : workers_) {
      peers += Load(worker->counters().peers_open) + Load(worker->counters().peers_welcoming);
    }
    if (peers < kPeersMax) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("the server has ", kPeersMax, " clients, the most that it takes"));
  }
  void OnPeer(transport::ArrivingPeer peer) override {
    if (peer.is_control) {
      lock_home_->AddControl(std::move(peer));
      return;
    }
    Worker* worker = nullptr;
    if (const transport::CompletionQueue* const home = peer.request->home(); home != nullptr) {
      for (const auto& candidate : workers_) {
        if (candidate->Polls(home)) worker = candidate.get();
      }
    }
    if (worker == nullptr) worker = workers_[peers_++ % workers_.size()].get();
    worker->AddPeer(std::move(peer));
  }
  void OnOtherPurpose(absl::string_view purpose, ScopedFd stream) override {
    if (purpose != kvs::kSocketPreamble) return;
    uint64_t sockets = 0;
    for (const auto& worker : workers_) sockets += Load(worker->socket_counters().connections_open);
    if (sockets >= kSocketsMax) {
      LOG_EVERY_N(WARNING, 1000) << "a socket is turned away: " << kSocketsMax << " are open";
      return;
    }
    workers_[sockets_++ % workers_.size()]->AddSocket(std::move(stream));
  }
  std::string RefusalOf(absl::string_view purpose, const absl::Status& why) override {
    return purpose == kvs::kSocketPreamble ? kvs::EncodeSocketRefusal(why) : "";
  }

 private:
  absl::Status MayWrite(const transport::Hello& hello) const {
    if (lock_home_ == nullptr) {
      return absl::FailedPreconditionError(
          "it lets no client write its memory by itself: start it with --trust");
    }
    if (hello.fabric == maker_) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("its memory can be written through fabric ",
                                                      maker_, " only, not through \"", hello.fabric,
                                                      "\""));
  }

  const std::vector<std::unique_ptr<Worker>>& workers_;
  LockHome* const lock_home_;
  const std::string maker_;
  size_t peers_ = 0;
  size_t sockets_ = 0;
};

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options) {
  CHECK(options.clock != nullptr && options.fill_random != nullptr && options.wall_ns != nullptr);
  std::unique_ptr<Server> server(new Server(std::move(options)));
  if (absl::Status status = server->CheckOptions(); !status.ok()) return status;
  if (absl::Status status = server->FindPlace(); !status.ok()) return status;
  if (absl::Status status = server->Bind(); !status.ok()) return status;
  if (absl::Status status = server->OpenStateFile(); !status.ok()) return status;
  if (absl::Status status = server->MakeMemory(); !status.ok()) return status;
  if (absl::Status status = server->MakeLockHome(); !status.ok()) return status;
  if (absl::Status status = server->StartWorkers(); !status.ok()) return status;
  if (absl::Status status = server->WaitOutLease(); !status.ok()) return status;
  if (absl::Status status = server->OpenDoor(); !status.ok()) return status;
  return server;
}

Server::Server(ServerOptions options)
    : options_(std::move(options)),
      scheduler_({.clock = options_.clock, .name = "service thread"}) {
  while (generation_ == 0) {
    options_.fill_random(
        absl::MakeSpan(reinterpret_cast<uint8_t*>(&generation_), sizeof(generation_)));
  }
}

Server::~Server() {
  const absl::Status status = Stop();
  LOG_IF(WARNING, !status.ok()) << status;
}

absl::Status Server::CheckOptions() {
  if (options_.threads < 1 || options_.threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--threads=", options_.threads, ": give 1 to ", kThreadsMax));
  }
  if (options_.memory_bytes < kMemoryBytesMin) {
    return absl::InvalidArgumentError(absl::StrCat("--memory=", FormatSize(options_.memory_bytes),
                                                   " is too little: give at least ",
                                                   FormatSize(kMemoryBytesMin)));
  }
  if (options_.lease_ms < kLeaseMsMin || options_.lease_ms > kLeaseMsMax) {
    return absl::InvalidArgumentError(absl::StrCat("--lease_ms=", options_.lease_ms, ": give ",
                                                   kLeaseMsMin, " to ", kLeaseMsMax));
  }
  if (options_.index_percent < 1 || options_.index_percent > 99) {
    return absl::InvalidArgumentError(
        absl::StrCat("--index_percent=", options_.index_percent, ": give 1 to 99"));
  }
  if (absl::Status cpus = CheckCpus(options_.cpus); !cpus.ok()) return cpus;
  if (options_.threads_per_qp < 1 || options_.threads_per_qp > transport::kThreadsPerQpMax) {
    return absl::InvalidArgumentError(absl::StrCat("--threads_per_qp=", options_.threads_per_qp,
                                                   ": give 1 to ", transport::kThreadsPerQpMax));
  }
  if (options_.trust && options_.threads_per_qp > 1) {
    return absl::InvalidArgumentError(
        "--trust with --threads_per_qp: one thread of a client could not be kept from writing "
        "while others go on on its queue pair: give one of the two");
  }
  if (absl::Status status = Networks::Judge(options_.fabrics, options_.device); !status.ok()) {
    return status;
  }
  const RegionPlan plan = PlanRegions(options_.memory_bytes, options_.region_bytes_max);
  if (plan.count > transport::kBootstrapRegionsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("--memory=", FormatSize(options_.memory_bytes), " is more than the ",
                     FormatSize(transport::kBootstrapRegionsMax * options_.region_bytes_max),
                     " that one server can have"));
  }
  return absl::OkStatus();
}

absl::Status Server::FindPlace() {
  if (options_.cluster.servers.empty()) return absl::OkStatus();
  const absl::StatusOr<transport::ServerPlace> place =
      kvs::PlaceOf(options_.cluster, options_.listen);
  if (!place.ok()) {
    return absl::Status(place.status().code(),
                        absl::StrCat("the cluster file ", place.status().message()));
  }
  place_ = *place;
  return absl::OkStatus();
}

std::string Server::ClusterAnswer() const {
  kvs::ClusterAnswer answer;
  answer.place = place_;
  answer.generation = generation_;
  answer.segments_count = static_cast<uint32_t>(regions_.size());
  answer.servers = options_.cluster.servers;
  if (answer.servers.empty()) {
    const absl::StatusOr<transport::HostPort> own = transport::ParseHostPort(address_);
    CHECK(own.ok()) << own.status();
    answer.servers.push_back(*own);
  }
  return kvs::EncodeClusterAnswer(answer);
}

absl::Status Server::Bind() {
  const auto addresses = transport::Resolve(options_.listen);
  if (!addresses.ok()) return addresses.status();
  const transport::SocketAddress& address = addresses->front();
  if (!address.is_loopback() && options_.secret == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen=", options_.listen.ToString(),
        " can be reached from other machines, and this server has no secret that "
        "clients would have to prove: give it one with --secret_file=FILE, or listen on "
        "this machine only, for example 127.0.0.1:",
        options_.listen.port));
  }
  auto socket = transport::BindSocket(address);
  if (!socket.ok()) return socket.status();
  listening_ = *std::move(socket);
  address_ = transport::LocalAddress(listening_.get()).ToString();
  const auto numeric = transport::ParseHostPort(address_);
  if (!numeric.ok()) return numeric.status();
  listen_host_ = numeric->host;
  is_loopback_ = address.is_loopback();
  return absl::OkStatus();
}

absl::Status Server::OpenStateFile() {
  const absl::StatusOr<std::string> boot_id = ReadBootId();
  if (!boot_id.ok()) return boot_id.status();
  const absl::StatusOr<std::string> folder = StateFile::Folder(options_.state_dir);
  if (!folder.ok()) return folder.status();
  auto file = StateFile::Open(*folder, address_, *boot_id);
  if (!file.ok()) return file.status();
  state_file_ = *std::move(file);
  if (state_file_->before() != StateFile::Before::kDied) return absl::OkStatus();
  // The dead one's last renewal was before now. What else there is to do meanwhile counts.
  const int64_t lease_ms = state_file_->lease_ms_before();
  listen_not_before_ns_ = options_.clock->NowNs() + static_cast<uint64_t>(lease_ms) * kNsPerMs;
  const std::string lost = absl::StrCat("the server before on ", address_,
                                        " did not stop cleanly: its records are lost");
  if (lease_ms == 0) {
    Say(lost);
  } else {
    Say(absl::StrCat(lost, "; listening once its lease is over, in ", lease_ms, " ms"));
  }
  return absl::OkStatus();
}

absl::Status Server::MakeMemory() {
  if (absl::Status status =
          CheckMemory(options_.memory_bytes, options_.huge_pages, ReadMachineMemory(/*root=*/""));
      !status.ok()) {
    return status;
  }
  if (absl::Status status = OpenNetworks(); !status.ok()) return status;
  if (absl::Status status = MakeRegions(); !status.ok()) return status;
  const std::vector<transport::MemoryRegion*> regions = Regions();
  absl::Status populated = PopulateRegions(
      regions, static_cast<int>(UsableCpus().size()), options_.clock,
      [this](absl::string_view line) { Say(line); }, options_.stop_requested);
  if (!populated.ok()) return populated;
  // A card pins all pages, one by one where they are not there yet: so behind that.
  if (absl::Status status = networks_->OpenDoors(regions_); !status.ok()) return status;
  auto table = kvs::Table::Create(
      {.index_percent = options_.index_percent, .share = kvs::ShareOf(place_)}, regions);
  if (!table.ok()) return table.status();
  table_ = *std::move(table);
  return absl::OkStatus();
}

absl::Status Server::OpenNetworks() {
  transport::ProviderOptions options;
  options.clock = options_.clock;
  options.generation = generation_;
  options.death_marks = options_.death_marks;
  options.listen_host = listen_host_;
  options.device = options_.device;
  options.threads_per_qp = options_.threads_per_qp;
  absl::StatusOr<Networks> networks = Networks::Open(options_.fabrics, options, is_loopback_,
                                                     [this](absl::string_view line) { Say(line); });
  if (!networks.ok()) return networks.status();
  networks_ = *std::move(networks);
  return absl::OkStatus();
}

absl::Status Server::MakeRegions() {
  const RegionPlan plan = PlanRegions(options_.memory_bytes, options_.region_bytes_max);
  for (uint64_t i = 0; i < plan.count; ++i) {
    transport::RegionOptions region_options;
    region_options.region_id = NextRegionId();
    region_options.size_bytes = plan.bytes;
    region_options.peer_rights = options_.trust ? transport::kRightsAll : transport::kRightRead;
    region_options.huge_pages = options_.huge_pages;
    region_options.lease_ns = static_cast<uint64_t>(options_.lease_ms) * kNsPerMs;
    region_options.death_mark = !options_.trust;  // Who may write could forge it.
    region_options.name = absl::StrCat("acre-data-", i);
    auto region = networks_->maker()->CreateRegion(region_options);
    if (!region.ok()) return region.status();
    regions_.push_back(*std::move(region));
  }
  return absl::OkStatus();
}

std::vector<transport::MemoryRegion*> Server::Regions() const {
  std::vector<transport::MemoryRegion*> regions;
  for (const auto& region : regions_) regions.push_back(region.get());
  return regions;
}

uint32_t Server::NextRegionId() {
  // Relaxed: only unique. Stays at its end, so that it never starts anew.
  uint32_t given = region_ids_given_.load(std::memory_order_relaxed);
  do {
    if (given == kIdsOfServerMax) return 0;
  } while (!region_ids_given_.compare_exchange_weak(given, given + 1, std::memory_order_relaxed));
  return place_.server_number << kServerNumberShift | (given + 1);
}

absl::Status Server::MakeLockHome() {
  if (!options_.trust) return absl::OkStatus();
  LockHome::Options options;
  options.scheduler = &scheduler_;
  options.fabric = networks_->maker();
  options.regions = Regions();
  options.table = table_.get();
  options.next_region_id = [this] { return NextRegionId(); };
  options.fill_random = options_.fill_random;
  options.view = place_.view;
  auto home = LockHome::Create(std::move(options));
  if (!home.ok()) return home.status();
  lock_home_ = *std::move(home);
  return absl::OkStatus();
}

void Server::MakeTransactions() {
  std::vector<std::string> servers;
  for (const transport::HostPort& server : options_.cluster.servers) {
    servers.push_back(server.ToString());
  }
  if (servers.empty()) servers.push_back(address_);
  transactions_ = std::make_unique<TransactionService>(
      kvs::TransactionParticipant{place_.server_number - 1, generation_}, std::move(servers));
}

absl::Status Server::MakeTermination() {
  if (options_.cluster.servers.empty()) return absl::OkStatus();  // There is no other home.
  HomeLinks::Options links;
  links.scheduler = &scheduler_;
  links.cluster = options_.cluster;
  links.self_index = place_.server_number - 1;
  links.credentials = {options_.secret, options_.fill_random};
  links.device = options_.device;
  auto termination = Termination::Create(std::move(links), transactions_.get());
  if (!termination.ok()) return termination.status();
  termination_ = *std::move(termination);
  transactions_->SetLost(termination_->lost(), [this](const kvs::TransactionId& id) {
    return termination_->WhyOpen(id);
  });
  return absl::OkStatus();
}

absl::Status Server::StartWorkers() {
  WorkerContext context;
  context.clock = options_.clock;
  context.fabrics = networks_->served();
  context.table = table_.get();
  context.poll = options_.poll;
  context.next_region_id = [this] { return NextRegionId(); };
  context.stats = [this] { return Stats(); };
  context.cluster = {place_.view, ClusterAnswer()};
  named_locks_ = std::make_unique<NamedLocks>(options_.clock, options_.wall_ns);
  context.named_locks = named_locks_.get();
  context.lock_home = lock_home_.get();
  context.cpus = options_.cpus;
  MakeTransactions();
  context.transactions = transactions_.get();
  for (int i = 0; i < options_.threads; ++i) {
    auto worker = Worker::Start(context, i, generation_ + static_cast<uint64_t>(i) + 1);
    if (!worker.ok()) return worker.status();
    workers_.push_back(*std::move(worker));
    transactions_->Add(workers_.back()->transactions());
  }
  return MakeTermination();
}

absl::Status Server::WaitOutLease() {
  for (;;) {
    const uint64_t now_ns = options_.clock->NowNs();
    if (now_ns >= listen_not_before_ns_) return absl::OkStatus();
    if (options_.stop_requested && options_.stop_requested()) {
      return absl::CancelledError("stopped before it listened");
    }
    const uint64_t till_ns = std::min(listen_not_before_ns_, now_ns + kLookForStopNs);
    scheduler_.RunUntilDone(SleepTill(&scheduler_, till_ns));
  }
}

absl::Status Server::OpenDoor() {
  std::vector<transport::MemoryRegion*> regions = Regions();
  RenewLeases(regions, options_.clock->NowNs());
  auto offered = networks_->Listen();
  if (!offered.ok()) return offered.status();
  absl::Status status = transport::StartListening(listening_.get());
  if (!status.ok()) return status;
  // Behind all that can fail, so that the next server takes no failed start for a death; and before the first
  // client is greeted: who connects meanwhile waits in the kernel's queue.
  status = state_file_->WriteRunning(generation_, HasLease() ? options_.lease_ms : 0);
  if (!status.ok()) return status;

  door_ =
      std::make_unique<Door>(&workers_, lock_home_.get(), networks_->maker()->device().provider);
  transport::BootstrapServerOptions options;
  options.layout_version = kvs::kLayoutVersion;
  options.generation = generation_;
  options.lease_ns = static_cast<uint64_t>(options_.lease_ms) * kNsPerMs;
  options.place = place_;
  options.views_refused = &views_refused_;
  options.secret = options_.secret;
  options.refusals = &refusals_;
  options.fill_random = options_.fill_random;
  bootstrap_ = std::make_unique<transport::BootstrapServer>(
      &scheduler_, std::move(options), *std::move(offered), std::move(listening_), door_.get());
  scheduler_
      .Spawn(KeepAlive(&scheduler_, &table_->epochs(), std::move(regions),
                       static_cast<uint64_t>(options_.lease_ms) * kNsPerMs))
      .Detach();
  scheduler_.DetachFromThread();
  service_thread_ = std::thread([this] { scheduler_.Run(); });
  const absl::string_view page_note = regions_[0]->page_note();
  if (!page_note.empty()) Say(absl::StrCat("reads would be faster on larger pages: ", page_note));
  return absl::OkStatus();
}

bool Server::HasLease() const {
  return std::any_of(regions_.begin(), regions_.end(), [](const auto& region) {
    const auto* const header = reinterpret_cast<const transport::RegionHeader*>(region->words());
    // Ours. Relaxed: a renewal moves it from one lease's end to another, never to none.
    return header->lease_deadline_ns.Load(std::memory_order_relaxed) != transport::kNoLeaseNs;
  });
}

absl::Status Server::Stop() {
  // First, before another server can have the port, and whatever of us is killed from here on: no reader
  // believes any more what it has mapped.
  for (const auto& region : regions_) region->Close();
  if (service_thread_.joinable()) {
    scheduler_.Stop();
    service_thread_.join();
  }
  scheduler_.DetachFromThread();
  const bool served = bootstrap_ != nullptr;
  bootstrap_.reset();
  if (networks_.has_value()) networks_->StopListening();
  listening_.Close();
  for (const auto& worker : workers_) worker->StopThread();
  if (lock_home_ != nullptr) lock_home_->Stop();
  // Whom this server leaves behind others end: to them it is gone.
  if (transactions_ != nullptr) transactions_->SetLost(nullptr);
  termination_.reset();
  for (const auto& worker : workers_) worker->CloseConnections();
  for (const auto& worker : workers_) worker->ForgetAbandonedLocks();
  workers_.clear();
  lock_home_.reset();
  transactions_.reset();
  named_locks_.reset();
  table_.reset();
  if (networks_.has_value()) networks_->CloseDoors();
  regions_.clear();
  networks_.reset();
  const std::unique_ptr<StateFile> state_file = std::move(state_file_);
  if (!served) return absl::OkStatus();
  return state_file->WriteClean();
}

std::string Server::Description() const {
  std::set<std::string> pages;
  uint64_t bytes = 0;
  for (const auto& region : regions_) {
    pages.insert(FormatSize(region->page_bytes()));
    bytes += region->size_bytes();
  }
  const size_t cores = options_.cpus.empty() ? UsableCpus().size() : options_.cpus.size();
  return absl::StrCat(
      networks_->served().size() == 1 ? "fabric " : "fabrics ", networks_->Names(), ", ",
      FormatSize(bytes), " in ", regions_.size(), regions_.size() == 1 ? " region" : " regions",
      " on pages of ", absl::StrJoin(pages, " and "), ", ", options_.threads,
      options_.threads == 1 ? " thread on " : " threads on ", cores,
      cores == 1 ? " core, " : " cores, ", options_.poll == PollMode::kBusy ? "busy" : "adaptive",
      " polling, ",
      HasLease() ? absl::StrCat("lease ", options_.lease_ms, " ms") : "deaths marked by the kernel",
      place_.view == 0
          ? ""
          : absl::StrCat(", server ", place_.server_number, " of ", place_.servers_count, ", view ",
                         transport::ViewName(place_.view)),
      options_.trust
          ? absl::StrCat(", clients write by themselves on ", networks_->maker()->device().provider)
          : "");
}

void Server::AppendWorkerStats(std::string* text) const {
  // Of all workers.
  const auto sum = [this](const auto& counter_of) {
    uint64_t total = 0;
    for (const auto& worker : workers_) total += Load(counter_of(*worker));
    return total;
  };
  const auto line = [text](absl::string_view name, uint64_t value) {
    absl::StrAppend(text, name, " ", value, "\n");
  };
  const auto of_operations = [&](absl::string_view name, SharedWord OperationCounters::*counter) {
    line(name, sum([&](const Worker& worker) -> const SharedWord& {
           return worker.counters().operations.*counter;
         }));
  };
  const auto of_verbs = [&](absl::string_view name, SharedWord VerbTotals::*counter) {
    line(name, sum([&](const Worker& worker) -> const SharedWord& {
           return worker.counters().verbs.*counter;
         }));
  };
  const auto of_clients = [&](absl::string_view name, SharedWord WorkerCounters::*counter) {
    line(name, sum([&](const Worker& worker) -> const SharedWord& {
           return worker.counters().*counter;
         }));
  };
  const auto of_sockets = [&](absl::string_view name, SharedWord SocketServerCounters::*counter) {
    line(name, sum([&](const Worker& worker) -> const SharedWord& {
           return worker.socket_counters().*counter;
         }));
  };
  of_operations("gets_rpc", &OperationCounters::gets_rpc);
  of_operations("gets_socket", &OperationCounters::gets_socket);
  of_operations("puts_rpc", &OperationCounters::puts_rpc);
  of_operations("puts_socket", &OperationCounters::puts_socket);
  of_operations("deletes_rpc", &OperationCounters::deletes_rpc);
  of_operations("deletes_socket", &OperationCounters::deletes_socket);
  of_verbs("verbs_read", &VerbTotals::reads);
  of_verbs("verbs_write", &VerbTotals::writes);
  of_verbs("verbs_atomic", &VerbTotals::atomics);
  of_verbs("doorbells", &VerbTotals::doorbells);
  of_clients("clients", &WorkerCounters::peers_open);
  of_clients("clients_accepted", &WorkerCounters::peers_accepted);
  of_clients("clients_failed", &WorkerCounters::peers_failed);
  of_sockets("sockets", &SocketServerCounters::connections_open);
  of_sockets("sockets_accepted", &SocketServerCounters::connections_opened);
  of_sockets("sockets_refused", &SocketServerCounters::connections_refused);
}

std::string Server::Stats() const {
  std::string text;
  AppendWorkerStats(&text);
  const auto line = [&text](absl::string_view name, uint64_t value) {
    absl::StrAppend(&text, name, " ", value, "\n");
  };
  for (size_t i = 0; i < transport::kRefusalReasonsCount; ++i) {
    const auto reason = static_cast<transport::RefusalReason>(i);
    line(absl::StrCat("handshakes_refused_", transport::RefusalReasonName(reason)),
         refusals_.Count(reason));
  }
  uint64_t views_refused = Load(views_refused_);
  for (const auto& worker : workers_) {
    views_refused += Load(worker->counters().operations.views_refused);
  }
  line("views_refused", views_refused);
  const kvs::TableStats table = table_->Stats();
  line("keys_refused", table.keys_refused);
  const NamedLocks::Counts locks = named_locks_->counts();
  line("locks_held", locks.held);
  line("locks_awaited", locks.waiting);
  line("locks_acquired", locks.acquired);
  line("locks_forced", locks.forced);
  if (lock_home_ != nullptr) {
    const LockHome::Counts writers = lock_home_->counts();
    line("writers", writers.participants);
    line("writers_joined", writers.joined);
    line("writers_fenced", writers.fenced);
    line("writers_killed", writers.killed);
    line("lock_queues_repaired", writers.queues_repaired);
    line("memory_spoilt", table.memory_spoilt);
  }
  transactions_->AppendStats(&text);
  if (termination_ != nullptr) termination_->AppendStats(&text);
  line("records", table.records);
  line("main_slots", table.main_slots);
  line("overflow_buckets", table.overflow_buckets);
  line("displacements", table.displacements);
  line("segment_bytes", table.segment_bytes);
  line("object_bytes_used", table.object_bytes_used);
  line("object_bytes_free", table.object_bytes_free);
  line("regions", regions_.size());
  line("threads", workers_.size());
  line("lease_ms", static_cast<uint64_t>(options_.lease_ms));
  line("death_marks", HasLease() ? 0 : 1);
  line("epoch", table_->epochs().Now());
  line("generation", generation_);
  line("server_number", place_.server_number);
  line("servers", place_.servers_count);
  absl::StrAppend(&text, "view ", transport::ViewName(place_.view), "\n");
  return text;
}

void Server::Say(absl::string_view line) const {
  if (options_.say) options_.say(line);
}

}  // namespace acre::server
