#include "client/router.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/limits.h"
#include "runtime/await_all.h"
#include "runtime/deadline.h"
#include "runtime/system_random.h"
#include "transport/secret.h"

namespace acre {
namespace {

using transport::HostPort;

constexpr uint64_t kNsPerMs = 1'000'000;
// The map is asked for no more often: servers that disagree may do so for long.
constexpr uint64_t kRefreshDistanceNs = 50 * kNsPerMs;
// Maps that an operation goes by. Whoever changes them faster does not need an answer.
constexpr int kMapsMax = 4;

bool IsSilence(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

void Add(const kvs::ReaderStats& more, kvs::ReaderStats* stats) {
  stats->gets += more.gets;
  stats->reads += more.reads;
  stats->retries += more.retries;
  stats->misses += more.misses;
  stats->validations += more.validations;
}

std::string AddressesOf(const std::vector<HostPort>& servers) {
  return absl::StrJoin(servers, ", ", [](std::string* out, const HostPort& server) {
    absl::StrAppend(out, server.ToString());
  });
}

// What the caller gets for what no map that is known can help with.
absl::Status ToCaller(const absl::Status& status) {
  if (!absl::IsOutOfRange(status)) return status;
  return absl::UnavailableError(
      absl::StrCat(status.message(), ": see that all servers run with the same --cluster file"));
}

absl::StatusOr<std::vector<HostPort>> ParseSeeds(const std::vector<std::string>& servers) {
  kvs::ClusterMap seeds;
  for (const std::string& server : servers) {
    absl::StatusOr<HostPort> seed = transport::ParseHostPort(server);
    if (!seed.ok()) return seed.status();
    if (seeds.NumberOf(*seed) == 0) seeds.servers.push_back(*std::move(seed));
  }
  if (seeds.servers.empty()) {
    return absl::InvalidArgumentError("no server is given: name one, HOST:PORT");
  }
  return seeds.servers;
}

}  // namespace

struct Router::Part {
  std::shared_ptr<ClientCore> core;
  std::vector<size_t> indices;  // In the whole.
  std::vector<absl::string_view> keys;
  std::vector<std::string> values;
  std::vector<absl::Status> statuses;
};

// ---- Joining the cluster.

Task<absl::StatusOr<std::unique_ptr<Router>>> Router::Connect(Scheduler* scheduler,
                                                              ClientOptions options) {
  absl::StatusOr<std::vector<HostPort>> seeds = ParseSeeds(options.servers);
  if (!seeds.ok()) co_return seeds.status();
  // Once: a file that changes later changes nothing for this client, whichever servers it comes to.
  transport::Credentials credentials;
  if (!options.secret_file.empty()) {
    auto secret = transport::Secret::ReadFile(options.secret_file);
    if (!secret.ok()) co_return secret.status();
    credentials = {*std::move(secret), FillSystemRandom};
  }
  absl::StatusOr<std::unique_ptr<FabricSet>> fabrics =
      FabricSet::Create(scheduler, {.name = options.fabric,
                                    .device = options.device,
                                    .threads_per_qp = options.threads_per_qp,
                                    .must_map = options.path == Path::kMapped});
  if (!fabrics.ok()) co_return fabrics.status();
  // What is missing on this side is told as such, before any server is blamed.
  if (options.path != Path::kTcp) {
    if (const absl::Status opened = (*fabrics)->Open().status(); !opened.ok()) co_return opened;
  }
  if (options.connect_timeout_ms <= 0 || options.operation_timeout_ms <= 0) {
    co_return absl::InvalidArgumentError("a timeout must be at least 1 ms");
  }
  const uint64_t deadline_ns =
      scheduler->NowNs() + static_cast<uint64_t>(options.connect_timeout_ms) * kNsPerMs;
  std::unique_ptr<Router> router(new Router(scheduler, std::move(options), *std::move(seeds),
                                            std::move(credentials), *std::move(fabrics)));
  absl::Status status = co_await router->Join(deadline_ns);
  if (!status.ok()) co_return status;
  co_return router;
}

Router::Router(Scheduler* scheduler, ClientOptions options, std::vector<HostPort> seeds,
               transport::Credentials credentials, std::unique_ptr<FabricSet> fabrics)
    : scheduler_(scheduler),
      options_(std::move(options)),
      seeds_(std::move(seeds)),
      credentials_(std::move(credentials)),
      operation_timeout_ns_(static_cast<uint64_t>(options_.operation_timeout_ms) * kNsPerMs),
      fabrics_(std::move(fabrics)),
      coordinator_(scheduler, this, operation_timeout_ns_),
      refresh_over_(scheduler) {}

Router::~Router() { refresh_.Cancel(); }

Task<absl::Status> Router::Join(uint64_t deadline_ns) {
  absl::Status first_failure;
  std::vector<HostPort> silent;
  for (size_t i = 0; i < seeds_.size(); ++i) {
    // A share of the time each, so that one that is silent does not take that of the others.
    const uint64_t now_ns = scheduler_->NowNs();
    const uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    absl::StatusOr<Asked> asked = co_await Ask(seeds_[i], now_ns + left_ns / (seeds_.size() - i));
    if (asked.ok()) {
      absl::Status status = maps_count_ == 0 ? Adopt(*asked) : Compare(*asked);
      if (!status.ok()) co_return status;
      continue;
    }
    if (!IsSilence(asked.status())) co_return asked.status();
    if (first_failure.ok()) first_failure = asked.status();
    silent.push_back(seeds_[i]);
  }
  if (maps_count_ == 0) co_return first_failure;
  for (const HostPort& server : silent) {
    if (map_.NumberOf(server) != 0) continue;
    co_return absl::FailedPreconditionError(absl::StrCat(
        server.ToString(),
        " does not answer, and is none of the cluster's servers: ", AddressesOf(map_.servers)));
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<Router::Asked>> Router::Ask(HostPort server, uint64_t deadline_ns) {
  Asked asked;
  asked.core = MakeCore(std::move(server), absl::nullopt);
  absl::StatusOr<kvs::ClusterAnswer> answer = co_await asked.core->Cluster(deadline_ns);
  if (!answer.ok()) co_return answer.status();
  asked.answer = *std::move(answer);
  co_return asked;
}

absl::Status Router::CheckAddress(const Asked& asked) const {
  if (asked.answer.place.view == 0) return absl::OkStatus();
  const kvs::ClusterMap map{asked.answer.place.view, asked.answer.servers};
  const uint32_t listed = map.NumberOf(asked.core->server());
  if (listed == 0 || listed == asked.answer.place.server_number) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "server ", asked.core->server().ToString(), " says that it is server ",
      asked.answer.place.server_number, " of the cluster, whose file has this address as server ",
      listed, ": see where the address leads to"));
}

absl::Status Router::Adopt(const Asked& asked) {
  if (absl::Status status = CheckAddress(asked); !status.ok()) return status;
  stats_before_ = reader_stats();
  written_before_ = writer_stats();
  verbs_before_ = verbs();
  map_.view = asked.answer.place.view;
  map_.servers = asked.answer.servers;
  // A server alone may be known to its clients by another address than its own.
  if (map_.view == 0) map_.servers = {asked.core->server()};
  cores_.clear();
  cores_.resize(map_.servers.size());
  cores_[asked.answer.place.server_number - 1] = asked.core;
  path_ = asked.core->path();
  fabric_ = asked.core->fabric();
  ++maps_count_;
  return absl::OkStatus();
}

absl::Status Router::Compare(const Asked& asked) {
  if (absl::Status status = CheckAddress(asked); !status.ok()) return status;
  if (asked.answer.place.view == 0 || asked.answer.place.view != map_.view) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the servers that are named are not of one cluster: ", seeds_.front().ToString(),
        " is of view ", transport::ViewName(map_.view), ", ", asked.core->server().ToString(),
        " of view ", transport::ViewName(asked.answer.place.view),
        ": see that they run with the same --cluster file"));
  }
  std::shared_ptr<ClientCore>& core = cores_[asked.answer.place.server_number - 1];
  if (core == nullptr) core = asked.core;
  return absl::OkStatus();
}

// ---- Whose a key is.

std::shared_ptr<ClientCore> Router::MakeCore(HostPort server,
                                             absl::optional<transport::ServerPlace> place) {
  return std::make_shared<ClientCore>(scheduler_, options_, std::move(server), place, credentials_,
                                      &name_, fabrics_.get());
}

std::shared_ptr<ClientCore> Router::CoreAt(size_t index) {
  if (cores_[index] == nullptr) {
    const transport::ServerPlace place{map_.view, static_cast<uint32_t>(index) + 1,
                                       static_cast<uint32_t>(cores_.size())};
    cores_[index] = MakeCore(map_.servers[index], place);
  }
  return cores_[index];
}

std::shared_ptr<ClientCore> Router::CoreOf(absl::string_view key) {
  if (cores_.size() == 1) return CoreAt(0);
  return CoreAt(kvs::KeyShare::ServerIndex(kvs::HashKey(key), cores_.size()));
}

bool Router::AnyConnected() const {
  return std::any_of(cores_.begin(), cores_.end(),
                     [](const auto& core) { return core != nullptr && core->is_connected(); });
}

// ---- Operations.

Task<absl::Status> Router::Get(absl::string_view key, std::string* value) {
  const uint64_t deadline_ns = OperationDeadlineNs();
  for (int maps = 1;; ++maps) {
    const uint64_t map_number = maps_count_;
    const std::shared_ptr<ClientCore> core = CoreOf(key);
    absl::Status status = co_await core->Get(key, value, deadline_ns);
    if (status.ok() || absl::IsNotFound(status)) co_return status;
    const bool again = co_await LearnFrom(&status, map_number, /*is_read=*/true, deadline_ns);
    if (!again || maps == kMapsMax) co_return ToCaller(status);
  }
}

Task<absl::Status> Router::Put(absl::string_view key, absl::string_view value) {
  const uint64_t deadline_ns = OperationDeadlineNs();
  for (int maps = 1;; ++maps) {
    const uint64_t map_number = maps_count_;
    const std::shared_ptr<ClientCore> core = CoreOf(key);
    absl::Status status = co_await core->Put(key, value, deadline_ns);
    if (status.ok()) co_return status;
    const bool again = co_await LearnFrom(&status, map_number, /*is_read=*/false, deadline_ns);
    if (!again || maps == kMapsMax) co_return ToCaller(status);
  }
}

Task<absl::Status> Router::Delete(absl::string_view key) {
  const uint64_t deadline_ns = OperationDeadlineNs();
  for (int maps = 1;; ++maps) {
    const uint64_t map_number = maps_count_;
    const std::shared_ptr<ClientCore> core = CoreOf(key);
    absl::Status status = co_await core->Delete(key, deadline_ns);
    if (status.ok() || absl::IsNotFound(status)) co_return status;
    const bool again = co_await LearnFrom(&status, map_number, /*is_read=*/false, deadline_ns);
    if (!again || maps == kMapsMax) co_return ToCaller(status);
  }
}

Task<void> Router::MultiGet(absl::Span<const absl::string_view> keys,
                            absl::Span<std::string> values, absl::Span<absl::Status> statuses) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  const uint64_t deadline_ns = OperationDeadlineNs();
  uint64_t map_number = maps_count_;
  co_await MultiGetOnce(keys, values, statuses, deadline_ns);
  const auto is_of_map = [](const absl::Status& status) {
    return absl::IsOutOfRange(status) || absl::IsUnavailable(status);
  };
  for (int maps = 1;; ++maps) {
    // The refused tell more of the map than those whose server is down.
    auto first = std::find_if(statuses.begin(), statuses.end(), absl::IsOutOfRange);
    if (first == statuses.end()) first = std::find_if(statuses.begin(), statuses.end(), is_of_map);
    if (first == statuses.end()) co_return;
    absl::Status status = *first;
    const bool again = co_await LearnFrom(&status, map_number, /*is_read=*/true, deadline_ns);
    if (!again || maps == kMapsMax) break;
    std::vector<size_t> failed;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (is_of_map(statuses[i])) failed.push_back(i);
    }
    map_number = maps_count_;
    co_await MultiGetSome(&failed, keys, values, statuses, deadline_ns);
  }
  for (absl::Status& status : statuses) status = ToCaller(status);
}

Task<void> Router::MultiGetSome(const std::vector<size_t>* indices,
                                absl::Span<const absl::string_view> keys,
                                absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                                uint64_t deadline_ns) {
  std::vector<absl::string_view> some_keys;
  std::vector<std::string> some_values;
  std::vector<absl::Status> some_statuses(indices->size());
  for (const size_t i : *indices) {
    some_keys.push_back(keys[i]);
    some_values.push_back(std::move(values[i]));  // For its memory.
  }
  co_await MultiGetOnce(some_keys, absl::MakeSpan(some_values), absl::MakeSpan(some_statuses),
                        deadline_ns);
  for (size_t i = 0; i < indices->size(); ++i) {
    values[(*indices)[i]] = std::move(some_values[i]);
    statuses[(*indices)[i]] = std::move(some_statuses[i]);
  }
}

Task<void> Router::MultiGetOnce(absl::Span<const absl::string_view> keys,
                                absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                                uint64_t deadline_ns) {
  if (cores_.size() > 1) {
    co_await MultiGetSpread(keys, values, statuses, deadline_ns);
    co_return;
  }
  const std::shared_ptr<ClientCore> core = CoreAt(0);
  co_await core->MultiGet(keys, values, statuses, deadline_ns);
}

// All servers at the same time.
Task<void> Router::MultiGetSpread(absl::Span<const absl::string_view> keys,
                                  absl::Span<std::string> values, absl::Span<absl::Status> statuses,
                                  uint64_t deadline_ns) {
  std::vector<Part> parts(cores_.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const size_t index = kvs::KeyShare::ServerIndex(kvs::HashKey(keys[i]), parts.size());
    Part& part = parts[index];
    if (part.core == nullptr) part.core = CoreAt(index);
    part.indices.push_back(i);
    part.keys.push_back(keys[i]);
    part.values.push_back(std::move(values[i]));  // For its memory.
  }
  std::vector<Task<void>> asking;
  for (Part& part : parts) {
    part.statuses.resize(part.keys.size());
    if (!part.keys.empty()) asking.push_back(MultiGetPart(&part, deadline_ns));
  }
  Task<void> all = AwaitAll(scheduler_, std::move(asking));
  co_await std::move(all);
  for (Part& part : parts) {
    for (size_t i = 0; i < part.indices.size(); ++i) {
      values[part.indices[i]] = std::move(part.values[i]);
      statuses[part.indices[i]] = std::move(part.statuses[i]);
    }
  }
}

Task<void> Router::MultiGetPart(Part* part, uint64_t deadline_ns) {
  co_await part->core->MultiGet(part->keys, absl::MakeSpan(part->values),
                                absl::MakeSpan(part->statuses), deadline_ns);
}

absl::StatusOr<std::shared_ptr<ClientCore>> Router::CoreNamed(const std::string& server) {
  size_t index = 0;
  if (!server.empty()) {
    absl::StatusOr<HostPort> address = transport::ParseHostPort(server);
    if (!address.ok()) return address.status();
    index = map_.NumberOf(*address);
    if (index-- == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(server, " is none of the servers: ", AddressesOf(map_.servers)));
    }
  } else if (cores_.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("which server? There are ", AddressesOf(map_.servers)));
  }
  return CoreAt(index);
}

Task<absl::StatusOr<std::string>> Router::ServerStats(std::string server) {
  const absl::StatusOr<std::shared_ptr<ClientCore>> core = CoreNamed(server);
  if (!core.ok()) co_return core.status();
  absl::StatusOr<std::string> text = co_await (*core)->ServerStats(OperationDeadlineNs());
  co_return text;
}

Task<absl::StatusOr<std::string>> Router::Locks(std::string server) {
  const absl::StatusOr<std::shared_ptr<ClientCore>> core = CoreNamed(server);
  if (!core.ok()) co_return core.status();
  absl::StatusOr<std::string> text = co_await (*core)->Locks(OperationDeadlineNs());
  co_return text;
}

Task<absl::StatusOr<NamedLock>> Router::LockFor(absl::string_view name, uint64_t wait_ns) {
  NamedLock lock;
  lock.name = std::string(name);
  for (int maps = 1;; ++maps) {
    const uint64_t deadline_ns = OperationDeadlineNs();
    const uint64_t map_number = maps_count_;
    const std::shared_ptr<ClientCore> core = CoreOf(name);
    lock.ticket = ++tickets_given_;
    absl::StatusOr<uint64_t> token = co_await core->Lock(name, lock.ticket, wait_ns, deadline_ns);
    if (token.ok()) {
      lock.token = *token;
      co_return lock;
    }
    absl::Status status = token.status();
    const bool again = co_await LearnFrom(&status, map_number, /*is_read=*/false, deadline_ns);
    if (!again || maps == kMapsMax) co_return ToCaller(status);
  }
}

Task<absl::StatusOr<NamedLock>> Router::Lock(absl::string_view name, int64_t timeout_ms) {
  // 0 would not wait its turn in the queue, but 1 ns does.
  uint64_t wait_ns = UINT64_MAX;
  if (timeout_ms <= 0) {
    wait_ns = 1;
  } else if (static_cast<uint64_t>(timeout_ms) < UINT64_MAX / kNsPerMs) {
    wait_ns = static_cast<uint64_t>(timeout_ms) * kNsPerMs;
  }
  absl::StatusOr<NamedLock> lock = co_await LockFor(name, wait_ns);
  if (lock.ok() && lock->token == 0) {
    co_return absl::DeadlineExceededError(
        absl::StrCat("others held the lock for all of ", std::max<int64_t>(timeout_ms, 0), " ms"));
  }
  co_return lock;
}

Task<absl::StatusOr<absl::optional<NamedLock>>> Router::TryLock(absl::string_view name) {
  absl::StatusOr<NamedLock> lock = co_await LockFor(name, /*wait_ns=*/0);
  if (!lock.ok()) co_return lock.status();
  absl::optional<NamedLock> taken;
  if (lock->token != 0) taken = *std::move(lock);
  co_return taken;
}

Task<absl::Status> Router::Unlock(const NamedLock& lock) {
  const std::shared_ptr<ClientCore> core = CoreOf(lock.name);
  absl::Status status = co_await core->Unlock(lock.ticket, OperationDeadlineNs());
  if (absl::IsNotFound(status)) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("the lock was lost before: its server was gone for a while, or somebody "
                     "forced it open. Who has "
                     "it now has a token above ",
                     lock.token));
  }
  co_return ToCaller(status);
}

Task<absl::Status> Router::ForceUnlock(absl::string_view name, uint64_t token) {
  const std::shared_ptr<ClientCore> core = CoreOf(name);
  absl::Status status = co_await core->ForceUnlock(name, token, OperationDeadlineNs());
  co_return ToCaller(status);
}

std::vector<std::string> Router::Servers() const {
  std::vector<std::string> servers;
  for (const HostPort& server : map_.servers) servers.push_back(server.ToString());
  return servers;
}

kvs::WriterStats Router::writer_stats() const {
  kvs::WriterStats stats = written_before_;
  for (const std::shared_ptr<ClientCore>& core : cores_) {
    if (core != nullptr) stats += core->writer_stats();
  }
  return stats;
}

kvs::ReaderStats Router::reader_stats() const {
  kvs::ReaderStats stats = stats_before_;
  for (const std::shared_ptr<ClientCore>& core : cores_) {
    if (core != nullptr) Add(core->reader_stats(), &stats);
  }
  return stats;
}

transport::VerbCounters Router::verbs() const {
  transport::VerbCounters verbs = verbs_before_;
  for (const std::shared_ptr<ClientCore>& core : cores_) {
    if (core != nullptr) verbs += core->verbs();
  }
  return verbs;
}

// ---- When the map is old.

Task<bool> Router::LearnFrom(absl::Status* status, uint64_t map_number, bool is_read,
                             uint64_t deadline_ns) {
  const bool is_refused = absl::IsOutOfRange(*status);
  // Alone, a server's own connection finds out.
  const bool is_lost = absl::IsUnavailable(*status) && map_.view != 0 && !AnyConnected();
  if (!is_refused && !is_lost) co_return false;
  if (maps_count_ == map_number) co_await Refresh(deadline_ns);
  // A change that was lost may have happened: to do it again would be a second one.
  if (maps_count_ != map_number && (is_refused || is_read)) co_return true;
  *status = ToCaller(*status);
  co_return false;
}

Task<void> Router::RefreshOver() { co_await refresh_over_.Wait(); }

Task<void> Router::Refresh(uint64_t deadline_ns) {
  if (map_.view == 0) co_return;  // A server alone: its connection finds out.
  const uint64_t begun_before = refreshes_begun_;
  // One that began before may have asked when another answer was true.
  do {
    if (refresh_.done()) refresh_ = scheduler_->Spawn(RefreshOnce());
    Task<void> over = RefreshOver();
    const absl::Status waited = co_await WithDeadline(*scheduler_, deadline_ns, std::move(over));
    if (!waited.ok()) co_return;
  } while (refreshes_begun_ == begun_before);
}

Task<void> Router::RefreshOnce() {
  if (scheduler_->NowNs() < next_refresh_ns_) co_await scheduler_->SleepUntil(next_refresh_ns_);
  ++refreshes_begun_;
  std::vector<HostPort> candidates = seeds_;
  const kvs::ClusterMap seeds{0, seeds_};
  for (const HostPort& server : map_.servers) {
    if (seeds.NumberOf(server) == 0) candidates.push_back(server);
  }
  const uint64_t timeout_ns = static_cast<uint64_t>(options_.connect_timeout_ms) * kNsPerMs;
  // The first that is of another view. As long as one answers that is still of ours, it does not count: the
  // servers disagree, and nobody knows which of them is right.
  absl::optional<Asked> other;
  bool ours_lives = false;
  for (const HostPort& server : candidates) {
    absl::StatusOr<Asked> asked =
        co_await Ask(server, scheduler_->NowNs() + timeout_ns / candidates.size());
    if (!asked.ok()) continue;
    ours_lives = asked->answer.place.view == map_.view;
    if (ours_lives) break;
    if (other.has_value()) continue;
    // Of those that may be gone by: one whose address leads elsewhere must not stand before a good one.
    if (const absl::Status judged = CheckAddress(*asked); !judged.ok()) {
      LOG(WARNING) << judged;
      continue;
    }
    other = *std::move(asked);
  }
  if (!ours_lives && other.has_value()) {
    const absl::Status adopted = Adopt(*other);
    CHECK(adopted.ok()) << "its address was judged: " << adopted;
  }
  next_refresh_ns_ = scheduler_->NowNs() + kRefreshDistanceNs;
  refresh_over_.NotifyAll();
}

// ---- Names of client.h.

Task<absl::StatusOr<std::unique_ptr<AsyncClient>>> AsyncClient::Connect(Scheduler* scheduler,
                                                                        ClientOptions options) {
  absl::StatusOr<std::unique_ptr<Router>> router =
      co_await Router::Connect(scheduler, std::move(options));
  if (!router.ok()) co_return router.status();
  std::unique_ptr<AsyncClient> client = *std::move(router);
  co_return client;
}

}  // namespace acre
