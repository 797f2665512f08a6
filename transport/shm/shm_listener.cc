#include "transport/shm/shm_listener.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <array>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/shm/shm_completion_queue.h"
#include "transport/shm/shm_queue_pair.h"

namespace acre::transport {
namespace {

// How often peers that do not speak, and the lack of descriptors, are looked at again.
constexpr uint64_t kTimerPeriodNs = 100'000'000;
constexpr int kAcceptsPerPoll = 16;

std::string NameOf(const PacketSocket& socket) {
  return absl::StrCat("process ", socket.peer().pid);
}

class ShmConnectionRequest final : public ConnectionRequest {
 public:
  ShmConnectionRequest(ShmContext* context, PacketSocket socket, PeerSide peer)
      : context_(context), socket_(std::move(socket)), peer_(std::move(peer)) {
    context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  }
  ~ShmConnectionRequest() override {
    context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
  }

  absl::string_view private_data() const override { return peer_.private_data; }
  std::string peer() const override { return NameOf(socket_); }

  absl::StatusOr<std::unique_ptr<QueuePair>> Accept(CompletionQueue* completion_queue,
                                                    absl::string_view private_data) override {
    CHECK(socket_.is_open()) << "a connection is accepted once";
    auto* shm_queue = dynamic_cast<ShmCompletionQueue*>(completion_queue);
    CHECK(shm_queue != nullptr) << "a completion queue of another provider";
    return ShmQueuePair::Accept(context_, shm_queue, std::move(socket_), std::move(peer_),
                                private_data);
  }

 private:
  ShmContext* context_;
  PacketSocket socket_;  // Closing it is how a request is rejected.
  PeerSide peer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ShmListener>> ShmListener::Create(ShmContext* context,
                                                                 std::string name) {
  absl::StatusOr<ScopedFd> socket_fd = PacketSocket::Listen(name);
  if (!socket_fd.ok()) return socket_fd.status();
  ScopedFd epoll_fd(epoll_create1(EPOLL_CLOEXEC));
  ScopedFd timer_fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.fd = timer_fd.get()}};
  if (!epoll_fd.is_open() || !timer_fd.is_open() ||
      epoll_ctl(epoll_fd.get(), EPOLL_CTL_ADD, timer_fd.get(), &event) != 0) {
    return absl::ErrnoToStatus(errno, "cannot make a listener (ulimit -n?)");
  }
  return absl::WrapUnique(new ShmListener(context, std::move(name), *std::move(socket_fd),
                                          std::move(epoll_fd), std::move(timer_fd)));
}

ShmListener::ShmListener(ShmContext* context, std::string name, ScopedFd socket_fd,
                         ScopedFd epoll_fd, ScopedFd timer_fd)
    : context_(context),
      name_(std::move(name)),
      socket_fd_(std::move(socket_fd)),
      epoll_fd_(std::move(epoll_fd)),
      timer_fd_(std::move(timer_fd)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
  SetAccepting(true);
}

ShmListener::~ShmListener() { context_->live_objects.fetch_sub(1, std::memory_order_relaxed); }

std::string ShmListener::endpoint() const { return absl::StrCat(kShmEndpointPrefix, name_); }

std::unique_ptr<ConnectionRequest> ShmListener::Poll() {
  std::array<epoll_event, 16> events;
  const int count = epoll_wait(epoll_fd_.get(), events.data(), events.size(), 0);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.fd == timer_fd_.get()) OnTimer();
    if (events[i].data.fd == socket_fd_.get()) AcceptPeers();
  }
  if (count <= 0) return nullptr;
  for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
    auto heard = waiting++;
    if (std::unique_ptr<ConnectionRequest> request = Hear(heard)) return request;
  }
  return nullptr;
}

void ShmListener::AcceptPeers() {
  for (int i = 0; i < kAcceptsPerPoll; ++i) {
    ScopedFd fd(accept4(socket_fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.is_open()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        LOG_EVERY_N(WARNING, 100) << "cannot take another shm connection: " << strerror(errno)
                                  << " (raise ulimit -n); trying again";
        SetAccepting(false);
        SetTimer(kTimerPeriodNs);
      }
      return;
    }
    if (waiting_.size() == kWaitingMax) Drop(waiting_.begin());
    epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data = {.fd = fd.get()}};
    if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) continue;
    if (waiting_.empty()) SetTimer(kTimerPeriodNs);
    waiting_.push_back({.socket = PacketSocket(std::move(fd)),
                        .until_ns = context_->clock->NowNs() + kHelloNsMax});
  }
}

std::unique_ptr<ConnectionRequest> ShmListener::Hear(std::list<Waiting>::iterator waiting) {
  Packet packet;
  switch (waiting->socket.Receive(&packet)) {
    case ReceiveResult::kNothing:
      return nullptr;
    case ReceiveResult::kGone:
    case ReceiveResult::kBad:
      Drop(waiting);
      return nullptr;
    case ReceiveResult::kPacket:
      break;
  }
  absl::StatusOr<PeerSide> peer = JudgeHello(packet, waiting->socket.peer());
  if (!peer.ok()) {
    Refuse(NameOf(waiting->socket), peer.status());
    Drop(waiting);
    return nullptr;
  }
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, waiting->socket.fd(), nullptr) == 0);
  auto request = std::make_unique<ShmConnectionRequest>(context_, std::move(waiting->socket),
                                                        *std::move(peer));
  waiting_.erase(waiting);
  return request;
}

void ShmListener::Drop(std::list<Waiting>::iterator waiting) {
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, waiting->socket.fd(), nullptr) == 0);
  waiting_.erase(waiting);
}

void ShmListener::OnTimer() {
  uint64_t expirations;
  (void)!read(timer_fd_.get(), &expirations, sizeof(expirations));
  const uint64_t now_ns = context_->clock->NowNs();
  while (!waiting_.empty() && waiting_.front().until_ns <= now_ns) Drop(waiting_.begin());
  if (!is_accepting_) SetAccepting(true);
  if (waiting_.empty()) SetTimer(0);
}

void ShmListener::SetAccepting(bool accepting) {
  if (accepting == is_accepting_) return;
  is_accepting_ = accepting;
  epoll_event event = {.events = EPOLLIN, .data = {.fd = socket_fd_.get()}};
  PCHECK(epoll_ctl(epoll_fd_.get(), accepting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, socket_fd_.get(),
                   &event) == 0);
}

void ShmListener::SetTimer(uint64_t period_ns) {
  itimerspec period = {};
  period.it_interval.tv_nsec = static_cast<int64_t>(period_ns);
  period.it_value = period.it_interval;
  PCHECK(timerfd_settime(timer_fd_.get(), 0, &period, nullptr) == 0);
}

}  // namespace acre::transport
