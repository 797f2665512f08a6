// The blocking form of the client. Reads on the paths `mapped` and `one_sided` go straight to their
// reader: no coroutine of the client, no pass of the scheduler, a few nanoseconds on top of the read. With
// a single server there is one reader to ask; in a cluster the key's hash says which.

#include "client/client.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "client/blocking_calls.h"
#include "client/client_core.h"
#include "client/router.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "runtime/clock.h"

namespace acre {
namespace {

// Reads between two passes of the scheduler, which notice the server's end and announce the epoch: some
// 25 us of mapped reads.
constexpr uint32_t kReadsPerPass = 256;

bool IsAnswer(const absl::Status& status) {
  return status.ok() || absl::IsNotFound(status) || absl::IsInvalidArgument(status);
}

}  // namespace

class Client::Impl final : public BlockingCalls {
 public:
  explicit Impl(const ClientOptions& options) : BlockingCalls(options.poll) {}
  ~Impl() override {
    homes_.clear();
    router_.reset();
  }

  absl::Status Connect(const ClientOptions& options) {
    auto router = scheduler_.RunUntilDone(Router::Connect(&scheduler_, options));
    if (!router.ok()) return router.status();
    router_ = *std::move(router);
    LookAtReaders();
    return absl::OkStatus();
  }

  absl::Status Get(absl::string_view key, std::string* value) {
    if (mapped_ != nullptr) [[likely]] {
      absl::Status status = mapped_->Get(key, value);
      if (--reads_till_pass_ == 0 || !status.ok()) [[unlikely]]
        status = AfterRead(std::move(status));
      return status;
    }
    return GetUnmapped(key, value);
  }

  [[gnu::noinline]] absl::Status GetUnmapped(absl::string_view key, std::string* value) {
    if (remote_ == nullptr) return GetFromCluster(key, value);
    absl::Status status = ReadRemotely(remote_, key, value);
    if (--reads_till_pass_ == 0 || !status.ok()) [[unlikely]]
      status = AfterRead(std::move(status));
    return status;
  }

  void MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                absl::Span<absl::Status> statuses) {
    CHECK(keys.size() == values.size() && keys.size() == statuses.size());
    if (mapped_ != nullptr) {
      mapped_->MultiGet(keys, values, statuses);
      AfterReads(statuses);
    } else if (remote_ != nullptr) {
      scheduler_.RunUntilDone(remote_->MultiGet(keys, values, statuses, DeadlineNs()));
      AfterReads(statuses);
      LookAtReaders();
    } else if (AllAreMapped()) {
      MultiGetMapped(keys, values, statuses);
    } else {
      scheduler_.RunUntilDone(router_->MultiGet(keys, values, statuses));
      LookAtReaders();
    }
  }

  absl::Status RunTransaction(const TransactionFunction& function, const RunOptions& options) {
    const std::unique_ptr<kvs::TransactionAttempts> attempts = router_->StartAttempts(options);
    for (;;) {
      Transaction transaction(this, attempts->Begin());
      const absl::optional<absl::Status> result = Run(attempts->End(function(&transaction)));
      if (result.has_value()) return *result;
    }
  }

  Router& router() { return *router_; }

 private:
  // A server of the cluster.
  struct Home {
    std::shared_ptr<ClientCore> core;  // Null: nothing to do with it yet. Keeps the readers.
    kvs::MappedReader* mapped = nullptr;
    kvs::RemoteReader* remote = nullptr;
    std::vector<size_t> indices;  // Of its keys, in the MultiGet under way.
  };

  // Every Get that is not that of a single server whose reader is there.
  absl::Status GetFromCluster(absl::string_view key, std::string* value) {
    if (homes_.size() > 1) {
      const Home& home = homes_[kvs::KeyShare::ServerIndex(kvs::HashKey(key), homes_.size())];
      absl::Status status = absl::OutOfRangeError("");  // There is no reader to ask.
      if (home.mapped != nullptr) {
        status = home.mapped->Get(key, value);
      } else if (home.remote != nullptr) {
        status = ReadRemotely(home.remote, key, value);
      }
      if (!absl::IsOutOfRange(status)) {
        if (--reads_till_pass_ == 0 || !status.ok()) status = AfterClusterRead(home, status);
        return status;
      }
    }
    return Run(router_->Get(key, value));
  }

  bool AllAreMapped() const {
    return homes_.size() > 1 && std::all_of(homes_.begin(), homes_.end(), [](const Home& home) {
             return home.mapped != nullptr;
           });
  }

  // One server after the other: each overlaps the cache misses of its keys.
  void MultiGetMapped(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) {
    for (Home& home : homes_) home.indices.clear();
    for (size_t i = 0; i < keys.size(); ++i) {
      homes_[kvs::KeyShare::ServerIndex(kvs::HashKey(keys[i]), homes_.size())].indices.push_back(i);
    }
    bool is_failed = false;
    for (const Home& home : homes_) {
      const size_t count = home.indices.size();
      part_keys_.resize(count);
      if (part_values_.size() < count) part_values_.resize(count);
      part_statuses_.assign(count, absl::OkStatus());
      for (size_t i = 0; i < count; ++i) {
        part_keys_[i] = keys[home.indices[i]];
        part_values_[i].swap(values[home.indices[i]]);  // Their memory is reused.
      }
      home.mapped->MultiGet(part_keys_, absl::MakeSpan(part_values_).first(count),
                            absl::MakeSpan(part_statuses_));
      for (size_t i = 0; i < count; ++i) {
        part_values_[i].swap(values[home.indices[i]]);
        if (!IsAnswer(part_statuses_[i])) [[unlikely]] {
          part_statuses_[i] = home.core->Explain(part_statuses_[i]);
          is_failed = true;
        }
        statuses[home.indices[i]] = std::move(part_statuses_[i]);
      }
    }
    const bool is_due = keys.size() >= reads_till_pass_;
    reads_till_pass_ -= static_cast<uint32_t>(keys.size());
    if (is_failed || is_due) Pass();
    if (is_failed) AskAgain(keys, values, statuses);
  }

  // What the readers failed at the router may know better: of a server that is back, or of a new map. Once,
  // and for all such keys together.
  [[gnu::noinline, gnu::cold]] void AskAgain(absl::Span<const absl::string_view> keys,
                                             absl::Span<std::string> values,
                                             absl::Span<absl::Status> statuses) {
    std::vector<size_t> failed;
    std::vector<absl::string_view> failed_keys;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!absl::IsOutOfRange(statuses[i]) && !absl::IsUnavailable(statuses[i])) continue;
      failed.push_back(i);
      failed_keys.push_back(keys[i]);
    }
    if (failed.empty()) return;
    std::vector<std::string> failed_values(failed.size());
    std::vector<absl::Status> failed_statuses(failed.size());
    scheduler_.RunUntilDone(router_->MultiGet(failed_keys, absl::MakeSpan(failed_values),
                                              absl::MakeSpan(failed_statuses)));
    LookAtReaders();
    for (size_t i = 0; i < failed.size(); ++i) {
      values[failed[i]] = std::move(failed_values[i]);
      statuses[failed[i]] = std::move(failed_statuses[i]);
    }
  }

  absl::Status ReadRemotely(kvs::RemoteReader* reader, absl::string_view key, std::string* value) {
    absl::Status status;
    Task<absl::Status> rest =
        reader->StartGet(key, value, router_->operation_timeout_ns(), &status);
    if (rest) status = scheduler_.RunUntilDone(std::move(rest));
    return status;
  }

  // By the coarse clock: a few ms more or less do not matter, and it lets cache misses stay in flight.
  uint64_t DeadlineNs() { return clock_.CoarseNowNs() + router_->operation_timeout_ns(); }

  // The server may have gone, and its readers with it.
  void Pass() {
    reads_till_pass_ = kReadsPerPass;
    scheduler_.RunOnce();
    LookAtReaders();
  }
  // After the scheduler ran: readers, and with another map of the cluster all else, may have changed.
  void AfterRun() override { LookAtReaders(); }
  void LookAtReaders() {
    const absl::Span<const std::shared_ptr<ClientCore>> cores = router_->cores();
    homes_.resize(cores.size());
    for (size_t i = 0; i < cores.size(); ++i) {
      Home& home = homes_[i];
      if (home.core != cores[i]) home.core = cores[i];
      home.mapped = home.core == nullptr ? nullptr : home.core->mapped_reader();
      home.remote = home.core == nullptr ? nullptr : home.core->remote_reader();
    }
    const bool is_single = homes_.size() == 1;
    mapped_ = is_single ? homes_[0].mapped : nullptr;
    remote_ = is_single ? homes_[0].remote : nullptr;
  }
  [[gnu::noinline]] absl::Status AfterRead(absl::Status status) {
    return AfterClusterRead(homes_[0], std::move(status));
  }
  absl::Status AfterClusterRead(const Home& home, absl::Status status) {
    if (!IsAnswer(status)) status = home.core->Explain(status);
    if (reads_till_pass_ == 0 || !IsAnswer(status)) Pass();
    return status;
  }
  void AfterReads(absl::Span<absl::Status> statuses) {
    bool pass = statuses.size() >= reads_till_pass_;
    for (absl::Status& status : statuses) {
      if (IsAnswer(status)) [[likely]]
        continue;
      status = homes_[0].core->Explain(status);
      pass = true;
    }
    reads_till_pass_ -= static_cast<uint32_t>(statuses.size());
    if (pass) Pass();
  }

  std::unique_ptr<Router> router_;
  std::vector<Home> homes_;  // By the index of the server.
  // Of MultiGetMapped(), for one server at a time.
  std::vector<absl::string_view> part_keys_;
  std::vector<std::string> part_values_;
  std::vector<absl::Status> part_statuses_;
  kvs::MappedReader* mapped_ = nullptr;  // Of a single server, if it is connected, or null.
  kvs::RemoteReader* remote_ = nullptr;
  uint32_t reads_till_pass_ = kReadsPerPass;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  if (absl::Status status = impl->Connect(options); !status.ok()) return status;
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

absl::StatusOr<std::string> Client::Get(absl::string_view key) {
  std::string value;
  if (absl::Status status = impl_->Get(key, &value); !status.ok()) return status;
  return value;
}

absl::Status Client::Get(absl::string_view key, std::string* value) {
  return impl_->Get(key, value);
}

absl::Status Client::Put(absl::string_view key, absl::string_view value) {
  return impl_->Run(impl_->router().Put(key, value));
}

absl::Status Client::Delete(absl::string_view key) {
  return impl_->Run(impl_->router().Delete(key));
}

absl::StatusOr<NamedLock> Client::Lock(absl::string_view name, int64_t timeout_ms) {
  return impl_->Run(impl_->router().Lock(name, timeout_ms));
}

absl::StatusOr<absl::optional<NamedLock>> Client::TryLock(absl::string_view name) {
  return impl_->Run(impl_->router().TryLock(name));
}

absl::Status Client::Unlock(const NamedLock& lock) {
  return impl_->Run(impl_->router().Unlock(lock));
}

absl::StatusOr<std::string> Client::Locks(std::string server) {
  return impl_->Run(impl_->router().Locks(std::move(server)));
}

absl::Status Client::ForceUnlock(absl::string_view name, uint64_t token) {
  return impl_->Run(impl_->router().ForceUnlock(name, token));
}

Transaction Client::Begin() { return Transaction(impl_.get(), impl_->router().Begin()); }

absl::Status Client::RunTransaction(const TransactionFunction& function, RunOptions options) {
  return impl_->RunTransaction(function, options);
}

TransactionStats Client::transaction_stats() const { return impl_->router().transaction_stats(); }

absl::StatusOr<std::string> Client::Transactions(std::string server) {
  return impl_->Run(impl_->router().Transactions(std::move(server)));
}

absl::Status Client::EndTransaction(std::string id, bool commit) {
  return impl_->Run(impl_->router().EndTransaction(std::move(id), commit));
}

std::vector<absl::StatusOr<std::string>> Client::MultiGet(
    absl::Span<const absl::string_view> keys) {
  std::vector<std::string> values(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  impl_->MultiGet(keys, absl::MakeSpan(values), absl::MakeSpan(statuses));
  std::vector<absl::StatusOr<std::string>> results;
  results.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].ok()) {
      results.emplace_back(std::move(values[i]));
    } else {
      results.emplace_back(std::move(statuses[i]));
    }
  }
  return results;
}

void Client::MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) {
  impl_->MultiGet(keys, values, statuses);
}

absl::StatusOr<std::string> Client::ServerStats(std::string server) {
  return impl_->Run(impl_->router().ServerStats(std::move(server)));
}
std::vector<std::string> Client::Servers() const { return impl_->router().Servers(); }

Path Client::path() const { return impl_->router().path(); }
std::string Client::fabric() const { return impl_->router().fabric(); }
kvs::ReaderStats Client::reader_stats() const { return impl_->router().reader_stats(); }
kvs::WriterStats Client::writer_stats() const { return impl_->router().writer_stats(); }
transport::VerbCounters Client::verbs() const { return impl_->router().verbs(); }

}  // namespace acre
