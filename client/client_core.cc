#include "client/client_core.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/fabric_backend.h"
#include "client/socket_backend.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "kvs/wire.h"
#include "runtime/deadline.h"
#include "transport/address.h"
#include "transport/bootstrap_peer.h"

namespace acre {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;
constexpr uint64_t kBackoffNsMin = 1 * kNsPerMs;
constexpr uint64_t kBackoffNsMax = 50 * kNsPerMs;

}  // namespace

ClientCore::ClientCore(Scheduler* scheduler, ClientOptions options, transport::HostPort server,
                       absl::optional<transport::ServerPlace> place,
                       transport::Credentials credentials, ProcessName* name, FabricSet* fabrics)
    : scheduler_(scheduler),
      options_(std::move(options)),
      server_(std::move(server)),
      operation_timeout_ns_(static_cast<uint64_t>(options_.operation_timeout_ms) * kNsPerMs),
      credentials_(std::move(credentials)),
      path_(options_.path),
      fabrics_(fabrics),
      name_(name),
      place_(place),
      attempt_over_(scheduler) {}

ClientCore::~ClientCore() {
  attempt_.Cancel();
  backend_.reset();
}

// ---- Operations.

Task<absl::Status> ClientCore::Get(absl::string_view key, std::string* value,
                                   uint64_t deadline_ns) {
  absl::Status status = kvs::CheckKey(key);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  status = co_await (*backend)->Get(key, value, deadline_ns);
  co_return Explain(status);
}

Task<absl::Status> ClientCore::Put(absl::string_view key, absl::string_view value,
                                   uint64_t deadline_ns) {
  absl::Status status = kvs::CheckKey(key);
  if (status.ok()) status = kvs::CheckValue(value);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  status = co_await (*backend)->Put(key, value, deadline_ns);
  // Given up in the middle of something that the server has to see the end of: at once, since nobody may come back.
  if (backend_ == *backend && !backend_->status().ok()) Drop();
  co_return Explain(status);
}

Task<absl::Status> ClientCore::Delete(absl::string_view key, uint64_t deadline_ns) {
  absl::Status status = kvs::CheckKey(key);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  status = co_await (*backend)->Delete(key, deadline_ns);
  co_return Explain(status);
}

Task<void> ClientCore::MultiGet(absl::Span<const absl::string_view> keys,
                                absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                                uint64_t deadline_ns) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) {
    std::fill(statuses.begin(), statuses.end(), backend.status());
    co_return;
  }
  // Runs of keys within limits; one beyond them gets its own answer.
  size_t begin = 0;
  while (begin < keys.size()) {
    size_t end = begin;
    absl::Status bad;
    while (end < keys.size() && bad.ok()) {
      bad = kvs::CheckKey(keys[end]);
      if (bad.ok()) ++end;
    }
    if (end > begin) {
      const size_t count = end - begin;
      co_await (*backend)->MultiGet(keys.subspan(begin, count), values.subspan(begin, count),
                                    statuses.subspan(begin, count), deadline_ns);
      for (size_t i = begin; i < end; ++i) statuses[i] = Explain(statuses[i]);
    }
    if (!bad.ok()) statuses[end++] = bad;
    begin = end;
  }
}

Task<absl::StatusOr<std::string>> ClientCore::ServerStats(uint64_t deadline_ns) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  absl::StatusOr<std::string> text = co_await (*backend)->Stats(deadline_ns);
  if (!text.ok()) co_return Explain(text.status());
  co_return text;
}

Task<absl::StatusOr<uint64_t>> ClientCore::Lock(absl::string_view name, uint64_t ticket,
                                                uint64_t wait_ns, uint64_t deadline_ns) {
  absl::Status status = kvs::CheckKey(name);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  const uint64_t answer_by_ns = scheduler_->NowNs() + operation_timeout_ns_;
  absl::StatusOr<uint64_t> token = co_await (*backend)->Lock(
      name, ticket, wait_ns,
      wait_ns > UINT64_MAX - answer_by_ns ? UINT64_MAX : answer_by_ns + wait_ns);
  if (!token.ok()) co_return Explain(token.status());
  co_return token;
}

Task<absl::Status> ClientCore::Unlock(uint64_t ticket, uint64_t deadline_ns) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  absl::Status status = co_await (*backend)->Unlock(ticket, deadline_ns);
  co_return absl::IsNotFound(status) ? status : Explain(status);
}

Task<absl::StatusOr<std::string>> ClientCore::Locks(uint64_t deadline_ns) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  absl::StatusOr<std::string> text = co_await (*backend)->Locks(deadline_ns);
  if (!text.ok()) co_return Explain(text.status());
  co_return text;
}

Task<absl::Status> ClientCore::ForceUnlock(absl::string_view name, uint64_t token,
                                           uint64_t deadline_ns) {
  absl::Status status = kvs::CheckKey(name);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  status = co_await (*backend)->ForceUnlock(name, token, deadline_ns);
  co_return absl::IsNotFound(status) || absl::IsFailedPrecondition(status) ? status
                                                                           : Explain(status);
}

Task<absl::Status> ClientCore::Call(kvs::Method method, absl::string_view request,
                                    std::string* response, uint64_t deadline_ns,
                                    uint64_t generation) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  if (generation != 0 && (*backend)->generation() != generation) {
    co_return Explain(absl::OutOfRangeError("it was started anew since"));
  }
  absl::Status status = co_await (*backend)->Call(method, request, response, deadline_ns);
  const bool is_answer =
      absl::IsNotFound(status) || absl::IsFailedPrecondition(status) || absl::IsAborted(status);
  co_return is_answer ? status : Explain(status);
}

Task<absl::StatusOr<std::shared_ptr<kvs::TransactionLink>>> ClientCore::Transactions(
    uint64_t deadline_ns) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  kvs::TransactionLink* const link = (*backend)->transactions();
  if (link == nullptr) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("transactions read the server's memory, and path ", PathName(path_),
                     " does not: use path auto, mapped or one_sided"));
  }
  // It goes with the connection.
  std::shared_ptr<kvs::TransactionLink> shared(*std::move(backend), link);
  co_return shared;
}

std::shared_ptr<kvs::TransactionLink> ClientCore::transactions_now() const {
  if (!IsConnected() || backend_->transactions() == nullptr) return nullptr;
  return {backend_, backend_->transactions()};
}

Task<absl::StatusOr<uint64_t>> ClientCore::Generation(uint64_t deadline_ns) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  co_return (*backend)->generation();
}

Task<absl::StatusOr<kvs::ClusterAnswer>> ClientCore::Cluster(uint64_t deadline_ns) {
  absl::StatusOr<std::shared_ptr<Backend>> backend = co_await Connection(deadline_ns);
  if (!backend.ok()) co_return backend.status();
  absl::StatusOr<kvs::ClusterAnswer> answer = co_await (*backend)->Cluster(deadline_ns);
  if (!answer.ok()) co_return Explain(answer.status());
  if (answer->place != *place_) {
    co_return Explain(
        absl::DataLossError("it tells of another place in the cluster than it told at first"));
  }
  co_return answer;
}

kvs::ReaderStats ClientCore::reader_stats() const {
  kvs::ReaderStats stats = stats_before_;
  if (backend_ == nullptr) return stats;
  const kvs::ReaderStats now = backend_->reader_stats();
  stats.gets += now.gets;
  stats.reads += now.reads;
  stats.retries += now.retries;
  stats.misses += now.misses;
  stats.validations += now.validations;
  return stats;
}

kvs::WriterStats ClientCore::writer_stats() const {
  kvs::WriterStats stats = written_before_;
  if (backend_ != nullptr) stats += backend_->writer_stats();
  return stats;
}

transport::VerbCounters ClientCore::verbs() const {
  transport::VerbCounters verbs = verbs_before_;
  if (backend_ != nullptr) verbs += backend_->verbs();
  return verbs;
}

absl::Status ClientCore::Explain(const absl::Status& status) const {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return absl::UnavailableError(
          absl::StrCat("server ", server_.ToString(), " is not available (", status.message(),
                       "): see that it runs, and call again: the client connects by itself"));
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError(
          absl::StrCat("server ", server_.ToString(), " did not answer in time (", status.message(),
                       "): see that it runs and is not overloaded, and call again, with a longer "
                       "timeout if need be"));
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kInternal:
      return absl::Status(status.code(),
                          absl::StrCat("server ", server_.ToString(), ": ", status.message()));
    default:
      return status;
  }
}

// ---- Connecting.

Task<absl::StatusOr<std::shared_ptr<Backend>>> ClientCore::Connection(uint64_t deadline_ns) {
  const uint64_t begun_before = connects_begun_;
  // An attempt that began to connect before this operation did may fail for what was true then only.
  do {
    if (IsConnected()) co_return backend_;
    if (backend_ != nullptr) Drop();
    if (attempt_.done()) attempt_ = scheduler_->Spawn(Attempt());
    Task<void> over = AttemptOver();
    const absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, std::move(over));
    if (!waited.ok()) {
      co_return Explain(absl::DeadlineExceededError("the client is still connecting"));
    }
  } while (!IsConnected() && connects_begun_ == begun_before);
  if (IsConnected()) co_return backend_;
  if (absl::IsNotFound(last_attempt_)) {
    // Would be taken for an answer about a record.
    co_return Explain(absl::DataLossError(last_attempt_.message()));
  }
  if (!last_attempt_.ok()) co_return Explain(last_attempt_);
  // On path tcp a server refuses what stands already.
  if (backend_ != nullptr && absl::IsPermissionDenied(backend_->status())) {
    co_return Explain(backend_->status());
  }
  co_return Explain(absl::UnavailableError("the new connection broke at once"));
}

Task<void> ClientCore::AttemptOver() { co_await attempt_over_.Wait(); }

Task<void> ClientCore::Attempt() {
  if (scheduler_->NowNs() < next_attempt_ns_) co_await scheduler_->SleepUntil(next_attempt_ns_);
  ++connects_begun_;
  const uint64_t timeout_ns = static_cast<uint64_t>(options_.connect_timeout_ms) * kNsPerMs;
  absl::StatusOr<std::shared_ptr<Backend>> backend =
      co_await MakeBackend(scheduler_->NowNs() + timeout_ns);
  ScheduleNextAttempt(backend.ok());
  last_attempt_ = backend.status();
  if (backend.ok()) {
    backend_ = *std::move(backend);
    path_ = backend_->path();
    fabric_name_ = backend_->fabric();
  }
  attempt_over_.NotifyAll();
}

void ClientCore::ScheduleNextAttempt(bool succeeded) {
  if (succeeded) {
    backoff_ns_ = 0;
    next_attempt_ns_ = 0;
    return;
  }
  backoff_ns_ = std::clamp(2 * backoff_ns_, kBackoffNsMin, kBackoffNsMax);
  next_attempt_ns_ = scheduler_->NowNs() + backoff_ns_;
}

Task<absl::StatusOr<std::shared_ptr<Backend>>> ClientCore::MakeBackend(uint64_t deadline_ns) {
  if (options_.path != Path::kTcp) {
    absl::StatusOr<std::shared_ptr<Backend>> made = co_await MakeFabricBackend(deadline_ns);
    co_return made;
  }
  absl::StatusOr<std::unique_ptr<SocketClient>> client = co_await SocketClient::Connect(
      scheduler_, server_.ToString(), deadline_ns, &resolver_, credentials_);
  if (!client.ok()) co_return client.status();
  Task<absl::StatusOr<kvs::ClusterAnswer>> ask =
      (*client)->Cluster(place_.has_value() ? place_->view : 0);
  absl::StatusOr<kvs::ClusterAnswer> told =
      co_await WithDeadline(*scheduler_, deadline_ns, std::move(ask));
  if (!told.ok()) co_return told.status();
  absl::Status judged = JudgePlace(told->place);
  if (!judged.ok()) co_return judged;
  std::shared_ptr<Backend> backend =
      std::make_shared<SocketBackend>(scheduler_, *std::move(client));
  co_return backend;
}

Task<absl::StatusOr<std::shared_ptr<Backend>>> ClientCore::MakeFabricBackend(uint64_t deadline_ns) {
  absl::StatusOr<FabricSet::LocalFabrics> fabrics = fabrics_->Open();
  if (!fabrics.ok()) co_return fabrics.status();
  const uint32_t region_id = fabrics_->TakeRegionIds(FabricBackend::kRegionIds);
  transport::ConnectOptions connect;
  connect.server = server_;
  connect.layout_version = kvs::kLayoutVersion;
  connect.process_id = name_->id;
  connect.process_id_generation = name_->generation;
  connect.credentials = credentials_;
  connect.view = place_.has_value() ? place_->view : 0;
  connect.fabrics = *std::move(fabrics);
  if (fabrics_->has_more()) {
    connect.more_fabrics = [set = fabrics_] { return set->OpenMore(); };
  }
  connect.channel.region_id = region_id;
  connect.channel.busy_polling = options_.poll == PollMode::kBusy;
  connect.channel.random_seed = scheduler_->random().Next();
  connect.channel.peer_name = server_.ToString();
  connect.deadline_ns = deadline_ns;
  connect.resolver = &resolver_;
  FabricBackend::Options options;
  options.path = options_.path;
  options.put_path = options_.put_path;
  options.connect_timeout_ns = static_cast<uint64_t>(options_.connect_timeout_ms) * kNsPerMs;
  options.server = server_;
  options.credentials = credentials_;
  options.region_id = region_id + 1;
  options.operation_timeout_ns = operation_timeout_ns_;
  options.deadline_ns = deadline_ns;
  absl::StatusOr<transport::ConnectedPeer> peer =
      co_await transport::ConnectPeer(std::move(connect));
  if (!peer.ok()) co_return peer.status();
  // Of another giver it stays as it is.
  if (peer->process_id >> kServerNumberShift == peer->place.server_number) {
    *name_ = {peer->process_id, peer->generation};
  }
  absl::Status judged = JudgePlace(peer->place);
  if (!judged.ok()) co_return judged;
  const transport::ConnectOptions::LocalFabric local = peer->local;
  options.process_id = name_->id;
  options.process_id_generation = name_->generation;
  options.shares_queue_pairs =
      options_.threads_per_qp > 1 && local.fabric->device().provider == "verbs";
  absl::StatusOr<std::shared_ptr<FabricBackend>> made = co_await FabricBackend::Create(
      local.fabric, local.port, *std::move(peer), std::move(options));
  if (!made.ok()) co_return made.status();
  std::shared_ptr<Backend> backend = *std::move(made);
  co_return backend;
}

absl::Status ClientCore::JudgePlace(const transport::ServerPlace& told) {
  if (!place_.has_value()) place_ = told;
  if (told == *place_) return absl::OkStatus();
  if (told.view != place_->view) return transport::OtherView(told.view, place_->view);
  return absl::FailedPreconditionError(
      absl::StrCat("it says that it is server ", told.server_number, " of ", told.servers_count,
                   " of the cluster, whose file has this address as server ", place_->server_number,
                   " of ", place_->servers_count, ": see where the address leads to"));
}

void ClientCore::Drop() {
  stats_before_ = reader_stats();
  written_before_ = writer_stats();
  verbs_before_ = verbs();
  // Operations under way keep it till they have ended.
  backend_.reset();
}

}  // namespace acre
