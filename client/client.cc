// The blocking form of the client. Reads on the paths `mapped` and `one_sided` go straight to their
// reader: no coroutine of the client, no pass of the scheduler, a few nanoseconds on top of the read.

#include "client/client.h"

#include <utility>

#include "client/client_core.h"
#include "glog/logging.h"
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

class Client::Impl {
 public:
  explicit Impl(const ClientOptions& options)
      : clock_(std::make_unique<RealClock>()),
        scheduler_({.clock = clock_.get(), .poll_mode = options.poll, .name = "client"}) {}
  ~Impl() { core_.reset(); }

  absl::Status Connect(const ClientOptions& options) {
    auto core = scheduler_.RunUntilDone(ClientCore::Connect(&scheduler_, options));
    if (!core.ok()) return core.status();
    core_ = *std::move(core);
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
    if (remote_ == nullptr) return Run(core_->Get(key, value));
    absl::Status status;
    Task<absl::Status> rest = remote_->StartGet(key, value, core_->operation_timeout_ns(), &status);
    if (rest) status = scheduler_.RunUntilDone(std::move(rest));
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
    } else {
      scheduler_.RunUntilDone(core_->MultiGet(keys, values, statuses));
      LookAtReaders();
    }
  }

  template <class T>
  T Run(Task<T> operation) {
    T result = scheduler_.RunUntilDone(std::move(operation));
    LookAtReaders();
    return result;
  }

  ClientCore& core() { return *core_; }

 private:
  // By the coarse clock: a few ms more or less do not matter, and it lets cache misses stay in flight.
  uint64_t DeadlineNs() { return clock_->CoarseNowNs() + core_->operation_timeout_ns(); }

  // The server may have gone, and its readers with it.
  void Pass() {
    reads_till_pass_ = kReadsPerPass;
    scheduler_.RunOnce();
    LookAtReaders();
  }
  void LookAtReaders() {
    mapped_ = core_->mapped_reader();
    remote_ = core_->remote_reader();
  }
  [[gnu::noinline]] absl::Status AfterRead(absl::Status status) {
    if (reads_till_pass_ == 0 || !IsAnswer(status)) Pass();
    return IsAnswer(status) ? status : core_->Explain(status);
  }
  void AfterReads(absl::Span<absl::Status> statuses) {
    bool pass = statuses.size() >= reads_till_pass_;
    for (absl::Status& status : statuses) {
      if (IsAnswer(status)) [[likely]]
        continue;
      status = core_->Explain(status);
      pass = true;
    }
    reads_till_pass_ -= static_cast<uint32_t>(statuses.size());
    if (pass) Pass();
  }

  const std::unique_ptr<RealClock> clock_;
  Scheduler scheduler_;
  std::unique_ptr<ClientCore> core_;
  kvs::MappedReader* mapped_ = nullptr;  // Of the connection that there is, or null.
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
  return impl_->Run(impl_->core().Put(key, value));
}

absl::Status Client::Delete(absl::string_view key) { return impl_->Run(impl_->core().Delete(key)); }

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

absl::StatusOr<std::string> Client::ServerStats() {
  return impl_->Run(impl_->core().ServerStats());
}

Path Client::path() const { return impl_->core().path(); }
std::string Client::fabric() const { return impl_->core().fabric(); }
kvs::ReaderStats Client::reader_stats() const { return impl_->core().reader_stats(); }

}  // namespace acre
