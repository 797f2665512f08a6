// Calls over TCP, as a good server does them: one epoll for all connections, edges only; what a wake-up
// brings on a connection is received at once, answered whole, and sent with one system call. No delay of
// small packets. The frame is as short as an RPC's on a ring.

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "bench/message_way.h"
#include "bench/subprocess.h"
#include "glog/logging.h"
#include "kvs/socket_buffer.h"
#include "runtime/scoped_fd.h"
#include "transport/rpc.h"
#include "transport/socket.h"

namespace acre::bench {
namespace {

using kvs::SocketBuffer;

// In front of each request and each response.
struct FrameHeader {
  uint32_t payload_bytes;  // At most kRpcBytesMax.
  uint16_t method;
  uint16_t call;  // Of the connection's calls, modulo 2^16; the response repeats it.
};
static_assert(sizeof(FrameHeader) == 8);

constexpr size_t kReceiveBytesMin = 64 << 10;
constexpr int kEventsMax = 256;
// PollMode::kAdaptive: after so long without an event the thread sleeps, as a Scheduler does.
constexpr double kSpinNs = 20'000;
constexpr int kSleepMsMax = 100;
constexpr int kConnectTimeoutMs = 10'000;

absl::Status Gone() { return absl::UnavailableError("the other process has closed a connection"); }

// One connection, of either side.
struct Line {
  // Takes what has arrived. Errors: Unavailable.
  absl::Status Receive() {
    while (true) {
      input.EnsureSpace(kReceiveBytesMin);
      const size_t room_bytes = input.space_bytes();
      const ssize_t got = recv(fd.get(), input.space(), room_bytes, MSG_DONTWAIT);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return absl::OkStatus();
      if (got <= 0) return Gone();
      input.Produced(static_cast<size_t>(got));
      // Less than there was room for is all there is, and the next byte makes an edge; but the end makes
      // none if it was reported already.
      if (static_cast<size_t>(got) < room_bytes && !end_reported) return absl::OkStatus();
    }
  }

  void Queue(const FrameHeader& header, absl::string_view payload) {
    output.EnsureSpace(sizeof(header) + payload.size());
    output.Append(&header, sizeof(header));
    output.Append(payload.data(), payload.size());
  }

  // Sends as much as the kernel takes; the rest goes when it reports that there is room.
  absl::Status Flush() {
    while (!output.empty()) {
      const absl::string_view bytes = output.readable();
      const ssize_t sent = send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) return absl::OkStatus();
      if (sent < 0) return Gone();
      output.Consume(static_cast<size_t>(sent));
    }
    return absl::OkStatus();
  }

  // The frame at the front, if it is there whole: valid till Receive(); Consumed() when done with it.
  // DataLoss: it makes no sense.
  absl::StatusOr<bool> Next(FrameHeader* header, absl::string_view* payload) {
    const absl::string_view bytes = input.readable();
    if (bytes.size() < sizeof(*header)) return false;
    std::memcpy(header, bytes.data(), sizeof(*header));
    if (header->payload_bytes > transport::kRpcBytesMax) {
      return absl::DataLossError("a frame of an impossible length");
    }
    if (bytes.size() < sizeof(*header) + header->payload_bytes) return false;
    *payload = bytes.substr(sizeof(*header), header->payload_bytes);
    return true;
  }
  void Consumed(const FrameHeader& header) { input.Consume(sizeof(header) + header.payload_bytes); }

  ScopedFd fd;
  bool end_reported = false;
  SocketBuffer input;
  SocketBuffer output;
  // The caller's calls under way, in the order in which they were sent: a ring, its size a power of two.
  std::vector<uint64_t> begin_ticks = {};
  uint16_t calls_begun = 0;
  uint16_t calls_ended = 0;
};

// What both processes have: the connections, and one epoll.
class Side {
 public:
  explicit Side(const MessageOptions& options)
      : options_(options),
        ticks_(options.clock->tick_clock()),
        spin_ticks_(static_cast<uint64_t>(kSpinNs * options.clock->ticks_per_ns())) {}

  absl::Status Open() {
    epoll_ = ScopedFd(epoll_create1(EPOLL_CLOEXEC));
    return epoll_.is_open() ? absl::OkStatus() : absl::ErrnoToStatus(errno, "epoll_create1");
  }

  absl::Status Add(ScopedFd fd) {
    auto line = std::make_unique<Line>();
    line->fd = std::move(fd);
    epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                         .data = {.ptr = line.get()}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, line->fd.get(), &event) != 0) {
      return absl::ErrnoToStatus(errno, "epoll_ctl");
    }
    lines_.push_back(std::move(line));
    return absl::OkStatus();
  }

  // Lines with events: none after a look or a sleep that brought none.
  absl::Span<Line*> Wait() {
    epoll_event events[kEventsMax];
    int count = epoll_wait(epoll_.get(), events, kEventsMax, 0);
    if (count <= 0 && options_.poll == PollMode::kAdaptive) {
      const uint64_t begin_ticks = ticks_.Ticks();
      while (count <= 0 && ticks_.Ticks() - begin_ticks < spin_ticks_) {
        count = epoll_wait(epoll_.get(), events, kEventsMax, 0);
      }
      if (count <= 0) count = epoll_wait(epoll_.get(), events, kEventsMax, kSleepMsMax);
    }
    for (int i = 0; i < count; ++i) {
      ready_[i] = static_cast<Line*>(events[i].data.ptr);
      if ((events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        ready_[i]->end_reported = true;
      }
    }
    return {ready_, static_cast<size_t>(std::max(count, 0))};
  }

  std::vector<std::unique_ptr<Line>>& lines() { return lines_; }
  uint32_t connections() const { return options_.connections; }

 private:
  const MessageOptions options_;
  const TickClock ticks_;
  const uint64_t spin_ticks_;
  ScopedFd epoll_;
  std::vector<std::unique_ptr<Line>> lines_;
  Line* ready_[kEventsMax] = {};
};

class TcpServer : public MessageServer {
 public:
  explicit TcpServer(const MessageOptions& options) : side_(options) {}

  absl::Status Accept(int socket) override {
    if (absl::Status status = side_.Open(); !status.ok()) return status;
    const auto address = transport::ParseAddress({.host = "127.0.0.1", .port = 0});
    absl::StatusOr<ScopedFd> listening = transport::BindSocket(*address);
    if (!listening.ok()) return listening.status();
    absl::Status status = transport::StartListening(listening->get());
    if (!status.ok()) return status;
    const uint16_t port = transport::LocalAddress(listening->get()).port();
    status = SendBytes(socket, &port, sizeof(port));
    while (status.ok() && side_.lines().size() < side_.connections()) {
      if (!CanReceive(listening->get(), kConnectTimeoutMs)) {
        return absl::UnavailableError("the client does not connect");
      }
      int error = 0;
      ScopedFd fd = transport::AcceptSocket(listening->get(), &error);
      if (fd.is_open()) status = side_.Add(std::move(fd));
    }
    return status;
  }

  // Connections that are not in use cost nothing here.
  absl::Status Serve(uint32_t /*connections*/) override {
    paused_ = false;
    while (!paused_) {
      for (Line* const line : side_.Wait()) {
        if (absl::Status status = Answer(line); !status.ok()) return status;
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Answer(Line* line) {
    if (absl::Status status = line->Receive(); !status.ok()) return status;
    FrameHeader header;
    absl::string_view request;
    while (true) {
      const absl::StatusOr<bool> there = line->Next(&header, &request);
      if (!there.ok()) return there.status();
      if (!*there) break;
      if (header.method != kEchoMethod && header.method != kPauseMethod) {
        return absl::DataLossError("a call of no such method");
      }
      Echo(request, &response_);
      line->Queue(header, response_);
      paused_ = paused_ || header.method == kPauseMethod;
      line->Consumed(header);
    }
    return line->Flush();
  }

  Side side_;
  std::string response_;
  bool paused_ = false;
};

class TcpCaller : public MessageCaller {
 public:
  explicit TcpCaller(const MessageOptions& options) : clock_(*options.clock), side_(options) {}

  absl::Status Connect(int socket) override {
    if (absl::Status status = side_.Open(); !status.ok()) return status;
    uint16_t port = 0;
    absl::Status status = ReceiveBytes(socket, &port, sizeof(port));
    for (uint32_t i = 0; i < side_.connections() && status.ok(); ++i) {
      const auto address = transport::ParseAddress({.host = "127.0.0.1", .port = port});
      absl::StatusOr<ScopedFd> fd = transport::StartConnect(*address);
      if (!fd.ok()) return fd.status();
      status = side_.Add(*std::move(fd));
    }
    return status;
  }

  absl::StatusOr<MessageSample> Run(const MessageLoad& load) override {
    CHECK_EQ(load.calls_per_second, 0);
    CHECK_LE(load.connections, side_.lines().size());
    request_.assign(load.bytes, 'm');
    MessageWindow window(load, &clock_);
    for (uint32_t i = 0; i < load.connections; ++i) {
      Line* const line = side_.lines()[i].get();
      line->begin_ticks.assign(std::bit_ceil(load.outstanding), 0);
      line->calls_begun = line->calls_ended = 0;
      for (uint32_t call = 0; call < load.outstanding; ++call) Begin(line, window.Ticks());
      if (absl::Status status = line->Flush(); !status.ok()) return status;
    }
    while (under_way_ > 0) {
      for (Line* const line : side_.Wait()) {
        if (absl::Status status = Take(line, &window); !status.ok()) return status;
      }
    }
    return window.Sample();
  }

  absl::Status Pause() override {
    Line* const line = side_.lines().front().get();
    line->Queue({.payload_bytes = 0, .method = kPauseMethod, .call = 0}, "");
    absl::Status status = line->Flush();
    while (status.ok()) {
      for (Line* const ready : side_.Wait()) {
        status = ready->Receive();
        FrameHeader header = {};
        absl::string_view payload;
        const absl::StatusOr<bool> there = ready->Next(&header, &payload);
        if (!there.ok()) return there.status();
        if (!*there || !status.ok()) continue;
        ready->Consumed(header);
        return header.method == kPauseMethod ? absl::OkStatus() : WrongAnswer();
      }
    }
    return status;
  }

 private:
  static absl::Status WrongAnswer() {
    return absl::DataLossError("a response to something that was not asked");
  }

  void Begin(Line* line, uint64_t now_ticks) {
    const uint16_t call = line->calls_begun++;
    line->begin_ticks[call % line->begin_ticks.size()] = now_ticks;
    line->Queue({.payload_bytes = static_cast<uint32_t>(request_.size()),
                 .method = kEchoMethod,
                 .call = call},
                request_);
    ++under_way_;
  }

  // The answers that a connection brought, and as many calls again.
  absl::Status Take(Line* line, MessageWindow* window) {
    if (absl::Status status = line->Receive(); !status.ok()) return status;
    FrameHeader header;
    absl::string_view response;
    while (true) {
      const absl::StatusOr<bool> there = line->Next(&header, &response);
      if (!there.ok()) return there.status();
      if (!*there) break;
      if (header.method != kEchoMethod || header.call != line->calls_ended ||
          line->calls_ended == line->calls_begun || response.size() != request_.size()) {
        return WrongAnswer();
      }
      const uint64_t now_ticks = window->Ticks();
      window->Add(line->begin_ticks[header.call % line->begin_ticks.size()], now_ticks);
      ++line->calls_ended;
      --under_way_;
      line->Consumed(header);
      if (!window->IsOver(now_ticks)) Begin(line, now_ticks);
    }
    return line->Flush();
  }

  Clock& clock_;
  Side side_;
  std::string request_;
  uint64_t under_way_ = 0;  // On all connections.
};

}  // namespace

std::unique_ptr<MessageServer> MakeTcpServer(const MessageOptions& options) {
  return std::make_unique<TcpServer>(options);
}

std::unique_ptr<MessageCaller> MakeTcpCaller(const MessageOptions& options) {
  return std::make_unique<TcpCaller>(options);
}

}  // namespace acre::bench
