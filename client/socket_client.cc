#include "client/socket_client.h"

#include <sys/epoll.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "runtime/wait_queue.h"
#include "transport/bootstrap_proof.h"
#include "transport/socket.h"

namespace acre {
namespace {

// Waits till the connection stands or `deadline_ns` passes.
class ConnectWait {
 public:
  ConnectWait(Scheduler* scheduler, int fd) : scheduler_(scheduler), fd_(fd), timer_(scheduler) {}
  ~ConnectWait() { scheduler_->UnwatchFd(fd_); }

  absl::Status Start() {
    return scheduler_->WatchFd(fd_, EPOLLOUT, [this](uint32_t) {
      scheduler_->UnwatchFd(fd_);
      connected_ = true;
      if (waiting_) scheduler_->MakeReady(&timer_);
    });
  }

  struct Awaiter {
    ConnectWait* wait;
    uint64_t deadline_ns;

    bool await_ready() const { return wait->connected_; }
    template <task_internal::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> handle) {
      wait->waiting_ = true;
      wait->timer_.Bind(handle);
      wait->timer_.Start(deadline_ns);
    }
    // False: the deadline passed first.
    bool await_resume() const {
      wait->timer_.Stop();
      return wait->connected_;
    }
  };
  Awaiter Until(uint64_t deadline_ns) { return Awaiter{this, deadline_ns}; }

 private:
  Scheduler* const scheduler_;
  const int fd_;
  TimerWaiter timer_;
  bool waiting_ = false;
  bool connected_ = false;
};

}  // namespace

// One request under way: an awaiter for its answer.
class [[nodiscard]] SocketClient::Call : public Waiter {
 public:
  // Requires: the request was just queued on the connection, which is not broken. `payload` takes
  // the value of an answer that is OK; null: there is none.
  Call(SocketClient* client, std::string* payload)
      : client_(client), number_(client->calls_first_ + client->calls_.size()), payload_(payload) {
    client_->calls_.push_back(this);
    client_->flush_wanted_ = true;
  }
  ~Call() {
    if (client_ != nullptr) client_->calls_[number_ - client_->calls_first_] = nullptr;
  }

  bool await_ready() const { return client_ == nullptr; }
  template <task_internal::TaskPromise P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Bind(handle);
    waiting_ = true;
  }
  absl::Status await_resume() { return std::move(status_); }

  void Finish(const SocketResponse& response) {
    if (response.code != absl::StatusCode::kOk) {
      status_ = response.ToStatus();
    } else if (payload_ != nullptr) {
      payload_->assign(response.payload.data(), response.payload.size());
    }
    Finish();
  }
  void Fail(const absl::Status& status) {
    status_ = status;
    Finish();
  }

 private:
  void Finish() {
    if (waiting_) client_->scheduler_->MakeReady(this);
    client_ = nullptr;
  }

  SocketClient* client_;  // Null once it is answered.
  const uint64_t number_;
  std::string* const payload_;
  bool waiting_ = false;
  absl::Status status_;
};

Task<absl::StatusOr<std::unique_ptr<SocketClient>>> SocketClient::Connect(
    Scheduler* scheduler, std::string server, uint64_t deadline_ns, transport::Resolver* resolver,
    transport::Credentials credentials) {
  absl::StatusOr<transport::HostPort> host_port = transport::ParseHostPort(server);
  if (!host_port.ok()) co_return host_port.status();
  if (credentials.secret != nullptr) {
    absl::StatusOr<ScopedFd> fd = co_await transport::ConnectProven(
        scheduler, resolver, *std::move(host_port), std::move(credentials), deadline_ns);
    if (!fd.ok()) co_return fd.status();
    co_return Make(scheduler, SocketConnection::Adopt(*std::move(fd), server));
  }
  transport::Resolver own_resolver(scheduler);
  if (resolver == nullptr) resolver = &own_resolver;
  absl::StatusOr<std::vector<transport::SocketAddress>> addresses =
      co_await resolver->ResolveUntil(*std::move(host_port), deadline_ns);
  if (!addresses.ok()) co_return addresses.status();
  absl::Status status;
  for (const transport::SocketAddress& address : *addresses) {
    absl::StatusOr<std::unique_ptr<SocketConnection>> connection =
        SocketConnection::StartConnect(address, server);
    status = connection.status();
    if (!status.ok()) continue;
    {
      ConnectWait wait(scheduler, (*connection)->fd());
      status = wait.Start();
      if (!status.ok()) co_return status;
      const bool connected = co_await wait.Until(deadline_ns);
      if (!connected) {
        co_return absl::UnavailableError(
            absl::StrCat("cannot connect to ", server, ": no answer within the time"));
      }
    }
    status = (*connection)->FinishConnect();
    if (!status.ok()) continue;
    co_return Make(scheduler, *std::move(connection));
  }
  co_return status;
}

absl::StatusOr<std::unique_ptr<SocketClient>> SocketClient::Make(
    Scheduler* scheduler, std::unique_ptr<SocketConnection> connection) {
  std::unique_ptr<SocketClient> client(new SocketClient(scheduler, std::move(connection)));
  const absl::Status status = client->Watch();
  if (!status.ok()) return status;
  return client;
}

SocketClient::SocketClient(Scheduler* scheduler, std::unique_ptr<SocketConnection> connection)
    : scheduler_(scheduler), connection_(std::move(connection)) {
  scheduler_->AddPoller(this);
}

SocketClient::~SocketClient() {
  scheduler_->RemovePoller(this);
  scheduler_->UnwatchFd(connection_->fd());
  while (!calls_.empty()) {
    if (calls_.front() != nullptr) {
      calls_.front()->Fail(absl::UnavailableError("the client was closed while the call waited"));
    }
    calls_.pop_front();
  }
}

absl::Status SocketClient::Watch() {
  // Edges only: a level that nobody wants to hear of would keep the scheduler awake.
  return scheduler_->WatchFd(connection_->fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             [this](uint32_t events) { OnEvents(events); });
}

Task<absl::Status> SocketClient::Get(absl::string_view key, std::string* value) {
  absl::Status status = kvs::CheckKey(key);
  if (!status.ok()) co_return status;
  if (failed_) co_return connection_->status();
  connection_->QueueGet(key);
  Call call(this, value);
  status = co_await call;
  co_return status;
}

Task<absl::Status> SocketClient::Put(absl::string_view key, absl::string_view value) {
  absl::Status status = kvs::CheckKey(key);
  if (status.ok()) status = kvs::CheckValue(value);
  if (!status.ok()) co_return status;
  if (failed_) co_return connection_->status();
  connection_->QueuePut(key, value);
  Call call(this, nullptr);
  status = co_await call;
  co_return status;
}

Task<absl::Status> SocketClient::Delete(absl::string_view key) {
  absl::Status status = kvs::CheckKey(key);
  if (!status.ok()) co_return status;
  if (failed_) co_return connection_->status();
  connection_->QueueDelete(key);
  Call call(this, nullptr);
  status = co_await call;
  co_return status;
}

Task<void> SocketClient::MultiGet(absl::Span<const absl::string_view> keys,
                                  absl::Span<std::string> values,
                                  absl::Span<absl::Status> statuses) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  std::deque<Call> calls;
  std::vector<size_t> indices;  // Of the keys that were asked for.
  for (size_t i = 0; i < keys.size(); ++i) {
    statuses[i] = failed_ ? connection_->status() : kvs::CheckKey(keys[i]);
    if (!statuses[i].ok()) continue;
    connection_->QueueGet(keys[i]);
    calls.emplace_back(this, &values[i]);
    indices.push_back(i);
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    Call& call = calls[i];
    absl::Status status = co_await call;
    statuses[indices[i]] = std::move(status);
  }
}

Task<absl::StatusOr<std::string>> SocketClient::Stats() {
  if (failed_) co_return connection_->status();
  connection_->QueueStats();
  std::string text;
  Call call(this, &text);
  absl::Status status = co_await call;
  if (!status.ok()) co_return status;
  co_return text;
}

Task<absl::StatusOr<kvs::ClusterAnswer>> SocketClient::Cluster(uint64_t view) {
  if (failed_) co_return connection_->status();
  connection_->QueueCluster(view);
  std::string bytes;
  Call call(this, &bytes);
  absl::Status status = co_await call;
  if (!status.ok()) co_return status;
  absl::StatusOr<kvs::ClusterAnswer> answer = kvs::ParseClusterAnswer(bytes);
  if (!answer.ok()) {
    absl::Status damaged = absl::DataLossError(answer.status().message());
    co_return damaged;
  }
  co_return answer;
}

bool SocketClient::Poll() {
  if (!flush_wanted_) return false;
  flush_wanted_ = false;
  connection_->Flush().IgnoreError();  // Sticky: what it says is looked at here.
  if (!connection_->status().ok()) FailAll();
  return true;
}

void SocketClient::OnEvents(uint32_t events) {
  if (failed_) return;
  connection_->NoteEvents(events);
  bool drained = false;
  while (!drained && connection_->Receive(&drained).ok()) {
    SocketResponse response;
    while (connection_->Next(&response)) Deliver(response);
  }
  if (connection_->has_unsent()) connection_->Flush().IgnoreError();
  if (!connection_->status().ok()) FailAll();
}

void SocketClient::Deliver(const SocketResponse& response) {
  Call* const call = calls_.front();
  calls_.pop_front();
  ++calls_first_;
  if (call != nullptr) call->Finish(response);
}

void SocketClient::FailAll() {
  failed_ = true;
  scheduler_->UnwatchFd(connection_->fd());
  while (!calls_.empty()) {
    Call* const call = calls_.front();
    calls_.pop_front();
    ++calls_first_;
    if (call != nullptr) call->Fail(connection_->status());
  }
}

}  // namespace acre
