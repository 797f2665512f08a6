#include "transport/tcp/tcp_listener.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/secret_bytes.h"
#include "transport/socket.h"
#include "transport/tcp/tcp_completion_queue.h"
#include "transport/tcp/tcp_queue_pair.h"
#include "transport/tcp/tcp_stream.h"

namespace acre::transport {
namespace {

// How often peers that do not speak, and the lack of descriptors, are looked at again.
constexpr uint64_t kTimerPeriodNs = 100'000'000;
constexpr int kAcceptsPerPoll = 64;
// Of up to 16 events each.
constexpr int kRoundsPerPoll = 32;

class TcpConnectionRequest final : public ConnectionRequest {
 public:
  TcpConnectionRequest(TcpContext* context, TcpQueuePair::Streams streams, const TcpHello& hello)
      : context_(context), streams_(std::move(streams)), hello_(hello) {
    context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  }
  ~TcpConnectionRequest() override {
    context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
  }

  absl::string_view private_data() const override {
    return {hello_.private_data, hello_.private_data_bytes};
  }
  std::string peer() const override { return PeerAddress(streams_.peer_requests.get()).ToString(); }

  absl::StatusOr<std::unique_ptr<QueuePair>> Accept(CompletionQueue* completion_queue,
                                                    absl::string_view private_data) override {
    CHECK(streams_.own_requests.is_open()) << "a connection is accepted once";
    auto* tcp_queue = dynamic_cast<TcpCompletionQueue*>(completion_queue);
    CHECK(tcp_queue != nullptr) << "a completion queue of another provider";
    return TcpQueuePair::Accept(context_, tcp_queue, std::move(streams_), hello_, private_data);
  }

 private:
  TcpContext* const context_;
  TcpQueuePair::Streams streams_;  // Closing them is how a request is rejected.
  const TcpHello hello_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TcpListener>> TcpListener::Create(TcpContext* context,
                                                                 const std::string& host) {
  const absl::optional<SocketAddress> address = ParseAddress({.host = host, .port = 0});
  if (!address.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tcp peers cannot be awaited on \"", host, "\": give a numeric address"));
  }
  absl::StatusOr<ScopedFd> socket_fd = BindSocket(*address);
  if (!socket_fd.ok()) return socket_fd.status();
  const absl::Status listening = StartListening(socket_fd->get());
  if (!listening.ok()) return listening;
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd timer_fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.fd = timer_fd.get()}};
  if (!epoll_fd.is_open() || !timer_fd.is_open() ||
      epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, timer_fd.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot make a listener (ulimit -n?)");
  }
  const HostPort bound = ParseHostPort(LocalAddress(socket_fd->get()).ToString()).value();
  return absl::WrapUnique(new TcpListener(context, bound, *std::move(socket_fd),
                                          std::move(epoll_fd), std::move(timer_fd)));
}

TcpListener::TcpListener(TcpContext* context, HostPort bound, ScopedFd socket_fd, ScopedFd epoll_fd,
                         ScopedFd timer_fd)
    : context_(context),
      bound_(std::move(bound)),
      socket_fd_(std::move(socket_fd)),
      epoll_fd_(std::move(epoll_fd)),
      timer_fd_(std::move(timer_fd)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  SetAccepting(true);
}

TcpListener::~TcpListener() { context_->live_objects.fetch_sub(1, std::memory_order_relaxed); }

std::string TcpListener::endpoint() const {
  return EndpointFor(bound_.host == "::" ? "::1" : "127.0.0.1");
}

std::string TcpListener::EndpointFor(absl::string_view host) const {
  if (bound_.host != "0.0.0.0" && bound_.host != "::") return bound_.ToString();
  return HostPort{std::string(host), bound_.port}.ToString();
}

std::unique_ptr<ConnectionRequest> TcpListener::Poll() {
  std::array<epoll_event, 16> events;
  for (int round = 0; round < kRoundsPerPoll; ++round) {
    const int count = epoll_wait(epoll_fd_.get(), events.data(), events.size(), 0);
    if (count <= 0) return nullptr;
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == timer_fd_.get()) OnTimer();
      if (fd == socket_fd_.get()) AcceptPeers();
      // None: it went with an event before this one. Another's by now: nothing is heard of it yet.
      const auto found = places_.find(fd);
      if (found == places_.end()) continue;
      // Events that are left come again: epoll tells of what is readable as long as it is.
      if (std::unique_ptr<ConnectionRequest> request = Hear(found->second)) return request;
    }
  }
  return nullptr;  // A crowd. The fd stays readable.
}

void TcpListener::MakeRoom() {
  if (waiting_.size() < kWaitingMax) return;
  const Place silent = std::find_if(waiting_.begin(), waiting_.end(), [](const Waiting& waiting) {
    return waiting.hello_bytes < sizeof(TcpHello);
  });
  const ScopedFd stream = TakeOut(silent == waiting_.end() ? waiting_.begin() : silent);
  Refuse(
      PeerAddress(stream.get()).ToString(),
      absl::ResourceExhaustedError(absl::StrCat(
          kWaitingMax, " half connections wait at the fabric's port, and it was the one to go")));
}

void TcpListener::AcceptPeers() {
  for (int i = 0; i < kAcceptsPerPoll; ++i) {
    int error;
    ScopedFd fd = AcceptSocket(socket_fd_.get(), &error);
    if (!fd.is_open()) {
      if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        LOG_EVERY_N(WARNING, 100) << "cannot take another tcp connection: " << strerror(error)
                                  << " (raise ulimit -n); trying again";
        SetAccepting(false);
        SetTimer(kTimerPeriodNs);
        return;
      }
      if (error == EAGAIN || error == EWOULDBLOCK) return;
      continue;  // The fate of that one connection.
    }
    PrepareStream(fd.get(), context_->unreachable_ms);
    MakeRoom();
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd.get()}};
    if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) continue;
    if (waiting_.empty()) SetTimer(kTimerPeriodNs);
    const int number = fd.get();
    places_[number] = waiting_.insert(
        waiting_.end(),
        {.stream = std::move(fd), .until_ns = context_->clock->NowNs() + kHelloNsMax});
  }
}

std::unique_ptr<ConnectionRequest> TcpListener::Hear(Place waiting) {
  Waiting& heard = *waiting;
  // Once it has said hello, anything more than the hello's bytes comes too early.
  char more;
  const bool is_complete = heard.hello_bytes == sizeof(TcpHello);
  char* const to = reinterpret_cast<char*>(&heard.hello) + heard.hello_bytes;
  const StreamResult result =
      is_complete ? ReceiveFrom(heard.stream.get(), &more, 1)
                  : ReceiveFrom(heard.stream.get(), to, sizeof(TcpHello) - heard.hello_bytes);
  if (result.kind == StreamResult::Kind::kLater) return nullptr;
  if (result.kind != StreamResult::Kind::kMoved) {
    (void)TakeOut(waiting);
    return nullptr;
  }
  if (is_complete) return TurnAway(waiting, "more came behind its hello than that");
  heard.hello_bytes += result.bytes;
  // Whoever speaks something else altogether may not speak long enough.
  if (heard.hello_bytes < sizeof(TcpHello)) {
    if (heard.hello_bytes >= sizeof(heard.hello.magic) && heard.hello.magic != kTcpMagic) {
      return TurnAway(waiting, "it does not speak our protocol");
    }
    return nullptr;
  }
  auto why = WhyInvalid(heard.hello);
  if (!why && heard.hello.role == TcpRole::kAnswer) why = "it answers what nobody asked";
  if (why) return TurnAway(waiting, *why);
  const Place other = FindOther(waiting);
  if (other == waiting_.end()) return nullptr;
  return Pair(waiting, other);
}

std::nullptr_t TcpListener::TurnAway(Place waiting, absl::string_view why) {
  const ScopedFd stream = TakeOut(waiting);
  Refuse(PeerAddress(stream.get()).ToString(), absl::InvalidArgumentError(why));
  return nullptr;
}

TcpListener::Place TcpListener::FindOther(Place waiting) {
  return std::find_if(waiting_.begin(), waiting_.end(), [&waiting](const Waiting& other) {
    return other.hello_bytes == sizeof(TcpHello) &&
           AreEqualSecrets(other.hello.token, waiting->hello.token) &&
           other.hello.role != waiting->hello.role;
  });
}

std::unique_ptr<ConnectionRequest> TcpListener::Pair(Place one, Place other) {
  const bool is_first = one->hello.role == TcpRole::kMyRequests;
  const Place theirs = is_first ? one : other;
  const Place ours = is_first ? other : one;
  const TcpHello hello = theirs->hello;
  TcpQueuePair::Streams streams;
  streams.peer_requests = TakeOut(theirs);
  streams.own_requests = TakeOut(ours);
  return std::make_unique<TcpConnectionRequest>(context_, std::move(streams), hello);
}

ScopedFd TcpListener::TakeOut(Place waiting) {
  ScopedFd stream = std::move(waiting->stream);
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, stream.get(), nullptr) == 0);
  places_.erase(stream.get());
  waiting_.erase(waiting);
  return stream;
}

void TcpListener::OnTimer() {
  uint64_t expirations;
  (void)!read(timer_fd_.get(), &expirations, sizeof(expirations));
  const uint64_t now_ns = context_->clock->NowNs();
  while (!waiting_.empty() && waiting_.front().until_ns <= now_ns) {
    (void)TakeOut(waiting_.begin());
  }
  if (!is_accepting_) SetAccepting(true);
  if (waiting_.empty()) SetTimer(0);
}

void TcpListener::SetAccepting(bool accepting) {
  if (accepting == is_accepting_) return;
  is_accepting_ = accepting;
  epoll_event event = {.events = EPOLLIN, .data = {.fd = socket_fd_.get()}};
  PCHECK(epoll_ctl(epoll_fd_.get(), accepting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, socket_fd_.get(),
                   &event) == 0);
}

void TcpListener::SetTimer(uint64_t period_ns) {
  itimerspec period = {};
  period.it_interval.tv_nsec = static_cast<int64_t>(period_ns);
  period.it_value = period.it_interval;
  PCHECK(timerfd_settime(timer_fd_.get(), 0, &period, nullptr) == 0);
}

}  // namespace acre::transport
