#include "client/socket_connection.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/bootstrap_proof.h"

namespace acre {
namespace {

using kvs::SocketOpcode;
using kvs::SocketRequestHeader;
using kvs::SocketResponseHeader;
using kvs::WhyInvalidRefusal;

// Room for what one recv() may bring; more than the answers to 1000 small requests.
constexpr size_t kReceiveBytesMin = 16 << 10;

absl::Status NoConnection(absl::string_view server, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("cannot connect to ", server, ": ", why, "; is kv_server running there?"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketConnection>> SocketConnection::StartConnect(
    const transport::SocketAddress& address, absl::string_view server) {
  absl::StatusOr<ScopedFd> fd = transport::StartConnect(address);
  if (!fd.ok()) return NoConnection(server, fd.status().message());
  return std::unique_ptr<SocketConnection>(
      new SocketConnection(*std::move(fd), std::string(server)));
}

absl::StatusOr<std::unique_ptr<SocketConnection>> SocketConnection::Connect(
    absl::string_view server, int64_t timeout_ms, transport::Credentials credentials) {
  const absl::StatusOr<transport::HostPort> host_port = transport::ParseHostPort(server);
  if (!host_port.ok()) return host_port.status();
  if (credentials.secret != nullptr) {
    RealClock clock;
    Scheduler scheduler({.clock = &clock, .name = "proof"});
    absl::StatusOr<ScopedFd> fd = scheduler.RunUntilDone(transport::ConnectProven(
        &scheduler, /*resolver=*/nullptr, *host_port, std::move(credentials),
        scheduler.NowNs() + static_cast<uint64_t>(timeout_ms) * 1'000'000));
    if (!fd.ok()) return fd.status();
    return Adopt(*std::move(fd), server);
  }
  const absl::StatusOr<std::vector<transport::SocketAddress>> addresses =
      transport::Resolve(*host_port);
  if (!addresses.ok()) return addresses.status();
  absl::Status status;
  for (const transport::SocketAddress& address : *addresses) {
    absl::StatusOr<std::unique_ptr<SocketConnection>> connection = StartConnect(address, server);
    status = connection.status();
    if (!status.ok()) continue;
    pollfd poll_fd = {.fd = (*connection)->fd(), .events = POLLOUT, .revents = 0};
    int ready = 0;
    do {
      ready = poll(&poll_fd, 1, static_cast<int>(std::min<int64_t>(timeout_ms, INT32_MAX)));
    } while (ready < 0 && errno == EINTR);
    status =
        ready == 0 ? NoConnection(server, strerror(ETIMEDOUT)) : (*connection)->FinishConnect();
    if (status.ok()) return connection;
  }
  return status;
}

std::unique_ptr<SocketConnection> SocketConnection::Adopt(ScopedFd fd, absl::string_view server) {
  std::unique_ptr<SocketConnection> connection(
      new SocketConnection(std::move(fd), std::string(server)));
  connection->Flush().IgnoreError();  // The preamble. Sticky: the first call on it tells.
  return connection;
}

absl::Status SocketConnection::FinishConnect() {
  if (!status_.ok()) return status_;
  int error = 0;
  socklen_t size = sizeof(error);
  PCHECK(getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  if (error != 0) {
    status_ = NoConnection(server_, strerror(error));
    return status_;
  }
  return Flush();  // The preamble: the server wants to know soon who is there.
}

SocketConnection::SocketConnection(ScopedFd fd, std::string server)
    : fd_(std::move(fd)), server_(std::move(server)), outstanding_(64) {
  output_.Append(kvs::kSocketPreamble.data(), kvs::kSocketPreamble.size());
}

void SocketConnection::Queue(SocketOpcode opcode, absl::string_view key, absl::string_view value) {
  CHECK_LE(key.size(), kvs::kKeyBytesMax);
  CHECK_LE(value.size(), kvs::kValueBytesMax);
  const SocketRequestHeader header = {.opcode = static_cast<uint8_t>(opcode),
                                      .reserved0 = 0,
                                      .key_bytes = static_cast<uint16_t>(key.size()),
                                      .value_bytes = static_cast<uint32_t>(value.size())};
  output_.EnsureSpace(sizeof(header) + key.size() + value.size());
  output_.Append(&header, sizeof(header));
  output_.Append(key.data(), key.size());
  output_.Append(value.data(), value.size());
  if (outstanding_count_ == outstanding_.size()) GrowOutstanding();
  outstanding_[(outstanding_first_ + outstanding_count_) & (outstanding_.size() - 1)] = opcode;
  ++outstanding_count_;
}

void SocketConnection::GrowOutstanding() {
  std::rotate(outstanding_.begin(),
              outstanding_.begin() + static_cast<std::ptrdiff_t>(outstanding_first_),
              outstanding_.end());
  outstanding_first_ = 0;
  outstanding_.resize(outstanding_.size() * 2);
}

absl::Status SocketConnection::Flush() {
  while (status_.ok() && !output_.empty()) {
    const absl::string_view bytes = output_.readable();
    const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      return Break(std::strerror(errno));
    }
    output_.Consume(static_cast<size_t>(sent));
  }
  return status_;
}

absl::Status SocketConnection::Receive(bool* drained) {
  *drained = true;
  if (!status_.ok()) return status_;
  input_.EnsureSpace(std::max(kReceiveBytesMin, wanted_bytes_));
  wanted_bytes_ = 0;
  ssize_t got = 0;
  do {
    got = recv(fd_.get(), input_.space(), input_.space_bytes(), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == EAGAIN) return absl::OkStatus();
    return Break(std::strerror(errno));
  }
  if (got == 0) return Break("the server closed the connection");
  // Less than there was room for is all there is, but for an end that makes no further event.
  *drained = static_cast<size_t>(got) < input_.space_bytes() && !end_reported_;
  input_.Produced(static_cast<size_t>(got));
  return absl::OkStatus();
}

void SocketConnection::NoteEvents(uint32_t epoll_events) {
  if ((epoll_events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) end_reported_ = true;
}

bool SocketConnection::Next(SocketResponse* response) {
  const absl::string_view bytes = input_.readable();
  if (bytes.size() < sizeof(SocketResponseHeader) || !status_.ok()) return false;
  SocketResponseHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.opcode == kvs::kSocketRefusal) return TakeRefusal(header, bytes);
  if (outstanding_count_ == 0) {
    Break("the server answered what nobody asked").IgnoreError();
    return false;
  }
  const SocketOpcode expected = outstanding_[outstanding_first_];
  const absl::optional<absl::string_view> invalid = WhyInvalid(header, expected);
  if (invalid.has_value()) {
    Break(absl::StrCat("the server's answer makes no sense: ", *invalid)).IgnoreError();
    return false;
  }
  const size_t frame_bytes = sizeof(header) + header.payload_bytes;
  if (bytes.size() < frame_bytes) {
    // The rest comes with the next Receive(): nothing of the payloads given out is still in use
    // then.
    wanted_bytes_ = frame_bytes - bytes.size();
    return false;
  }
  outstanding_first_ = (outstanding_first_ + 1) & (outstanding_.size() - 1);
  --outstanding_count_;
  response->opcode = expected;
  response->code = static_cast<absl::StatusCode>(header.code);
  response->payload = bytes.substr(sizeof(header), header.payload_bytes);
  input_.Consume(frame_bytes);
  return true;
}

// Never true: there is no answer.
bool SocketConnection::TakeRefusal(const SocketResponseHeader& header, absl::string_view bytes) {
  const absl::optional<absl::string_view> invalid = WhyInvalidRefusal(header);
  if (invalid.has_value()) {
    Break(absl::StrCat("the server's refusal makes no sense: ", *invalid)).IgnoreError();
    return false;
  }
  const size_t frame_bytes = sizeof(header) + header.payload_bytes;
  if (bytes.size() < frame_bytes) {
    wanted_bytes_ = frame_bytes - bytes.size();
    return false;
  }
  status_ = absl::Status(static_cast<absl::StatusCode>(header.code),
                         bytes.substr(sizeof(header), header.payload_bytes));
  return false;
}

absl::Status SocketConnection::Break(absl::string_view why) {
  if (status_.ok()) {
    status_ = absl::UnavailableError(
        absl::StrCat("connection to ", server_, " broke: ", why, "; connect again"));
  }
  return status_;
}

}  // namespace acre
