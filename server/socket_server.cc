#include "server/socket_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/counter.h"

namespace acre::server {
namespace {

using kvs::SocketBuffer;
using kvs::SocketOpcode;
using kvs::SocketRequestHeader;
using kvs::SocketResponseHeader;

constexpr size_t kReceiveBytesMin = 8 << 10;
// Larger buffers are freed, not kept.
constexpr size_t kFreeBufferBytesMax = 64 << 10;
constexpr size_t kFreeBuffersMax = 64;
// What a client that was refused may still send while it has not read why.
constexpr size_t kDiscardBytesMax = 4 << 20;

size_t FrameBytes(const SocketRequestHeader& header) {
  return sizeof(header) + header.key_bytes + header.value_bytes;
}

struct Request {
  absl::string_view key;
  absl::string_view value;
};

// Requires: the whole frame is in `bytes`.
Request Parse(const SocketRequestHeader& header, absl::string_view bytes) {
  return {.key = bytes.substr(sizeof(header), header.key_bytes),
          .value = bytes.substr(sizeof(header) + header.key_bytes, header.value_bytes)};
}

SocketRequestHeader HeaderOf(absl::string_view bytes) {
  SocketRequestHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header;
}

}  // namespace

SocketServer::SocketServer(Scheduler* scheduler, SocketService* service)
    : scheduler_(scheduler), service_(service) {}

SocketServer::~SocketServer() {
  while (!connections_.empty()) {
    Connection* const connection = connections_.begin()->first;
    connection->task.Cancel();
    Close(connection);
  }
}

void SocketServer::AddConnection(int fd, std::string already_read) {
  const int flags = fcntl(fd, F_GETFL);
  PCHECK(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
  const int one = 1;
  // Fails on a connection that is already reset: then recv() tells.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  auto owned = std::make_unique<Connection>();
  Connection* const connection = owned.get();
  connection->fd = fd;
  connection->input.Append(already_read.data(), already_read.size());
  // Edges only, so that no system call is needed to stop and to take up reading. What is readable
  // or writable already counts as the first edge.
  const absl::Status status =
      scheduler_->WatchFd(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                          [this, connection](uint32_t events) { OnEvents(connection, events); });
  if (!status.ok()) {
    LOG(WARNING) << "a connection is dropped: " << status;
    close(fd);
    return;
  }
  connections_.emplace(connection, std::move(owned));
  AddToCounter(&counters_.connections_opened, 1);
  AddToCounter(&counters_.connections_open, 1);
}

void SocketServer::Close(Connection* connection) {
  scheduler_->UnwatchFd(connection->fd);
  close(connection->fd);
  SubtractFromCounter(&counters_.connections_open);
  connections_.erase(connection);
}

void SocketServer::OnEvents(Connection* connection, uint32_t events) {
  constexpr uint32_t kEnds = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  if ((events & (EPOLLIN | kEnds)) != 0) connection->readable = true;
  if ((events & kEnds) != 0) connection->peer_done = true;
  if (connection->task_running) return;  // It comes to that by itself.
  TakeBuffers(connection);
  connection->turn_bytes = 0;
  const Next next = RunPass(connection);
  switch (next) {
    case Next::kEvent:
      return ReturnBuffers(connection);
    case Next::kClose:
      return Close(connection);
    case Next::kChange:
    case Next::kAgain:
      connection->task_running = true;
      connection->task = scheduler_->Spawn(Continue(connection, next));
      return;
  }
}

// Goes on where a pass could not, till there is nothing to do but to wait for the kernel.
Task<void> SocketServer::Continue(Connection* connection, Next next) {
  while (next == Next::kChange || next == Next::kAgain) {
    if (next == Next::kChange) {
      co_await ExecuteChange(connection);
    } else {
      co_await scheduler_->Yield();
      connection->turn_bytes = 0;
    }
    next = RunPass(connection);
  }
  connection->task_running = false;
  if (next == Next::kClose) {
    Close(connection);
  } else {
    ReturnBuffers(connection);
  }
}

// Executes what has arrived as far as that needs no waiting, reads on, and sends the answers.
SocketServer::Next SocketServer::RunPass(Connection* connection) {
  while (true) {
    if (ExecuteReads(connection) == Next::kChange) return Next::kChange;
    if (connection->output.size_bytes() > kOutputBytesMax) {
      if (!Flush(connection)) return Next::kClose;
      // Its client is slow. EPOLLOUT comes when it has caught up.
      if (connection->output.size_bytes() > kOutputBytesMax) return Next::kEvent;
      continue;
    }
    if (!connection->readable || connection->end_seen || connection->refused) break;
    if (connection->turn_bytes > kPassBytesMax) {
      return Flush(connection) ? Next::kAgain : Next::kClose;
    }
    if (!Receive(connection)) return Next::kClose;
  }
  if (!Flush(connection)) return Next::kClose;
  if (!connection->output.empty()) return Next::kEvent;
  if (connection->refused && !Discard(connection)) return Next::kClose;
  return connection->end_seen ? Next::kClose : Next::kEvent;
}

// Answers the Gets that are at the front of the input. kChange: a Put or Delete is next, or a Get that
// has to wait; kEvent: no complete request is, or no room for its answer.
SocketServer::Next SocketServer::ExecuteReads(Connection* connection) {
  SocketBuffer& input = connection->input;
  uint64_t requests_count = 0;
  Next next = Next::kEvent;
  while (connection->output.size_bytes() <= kOutputBytesMax) {
    const absl::string_view bytes = input.readable();
    if (bytes.size() < sizeof(SocketRequestHeader)) break;
    const SocketRequestHeader header = HeaderOf(bytes);
    const absl::optional<absl::string_view> invalid = WhyInvalid(header);
    if (invalid.has_value()) {
      Refuse(connection, header.opcode, *invalid);
      break;
    }
    const size_t frame_bytes = FrameBytes(header);
    if (bytes.size() < frame_bytes) {
      connection->wanted_bytes = frame_bytes - bytes.size();
      break;
    }
    const auto opcode = static_cast<SocketOpcode>(header.opcode);
    if (opcode == SocketOpcode::kGet) {
      absl::Status status;
      if (!service_->GetAtOnce(Parse(header, bytes).key, &value_, &status)) {
        next = Next::kChange;
        break;
      }
      Answer(connection, opcode, status, value_);
    } else if (opcode == SocketOpcode::kStats) {
      const std::string text = service_->Stats();
      Answer(connection, opcode, absl::OkStatus(),
             absl::string_view(text).substr(0, kvs::kValueBytesMax));
    } else if (opcode == SocketOpcode::kCluster) {
      uint64_t view;
      std::memcpy(&view, Parse(header, bytes).value.data(), sizeof(view));  // private memory
      std::string text;
      const absl::Status status = service_->Cluster(view, &text);
      Answer(connection, opcode, status, text);
    } else {
      next = Next::kChange;
      break;
    }
    ++requests_count;
    input.Consume(frame_bytes);
  }
  if (requests_count > 0) AddToCounter(&counters_.requests, requests_count);
  return next;
}

// Requires: a complete Put, Delete or Get is at the front of the input; it stays there till it is
// done, as nobody reads meanwhile.
Task<void> SocketServer::ExecuteChange(Connection* connection) {
  const absl::string_view bytes = connection->input.readable();
  const SocketRequestHeader header = HeaderOf(bytes);
  const Request request = Parse(header, bytes);
  const auto opcode = static_cast<SocketOpcode>(header.opcode);
  absl::Status status;
  std::string value;  // Others use value_ meanwhile.
  if (opcode == SocketOpcode::kGet) {
    status = co_await service_->Get(request.key, &value);
  } else if (opcode == SocketOpcode::kPut) {
    status = co_await service_->Put(request.key, request.value);
  } else {
    CHECK(opcode == SocketOpcode::kDelete);
    status = co_await service_->Delete(request.key);
  }
  Answer(connection, opcode, status, value);
  connection->input.Consume(FrameBytes(header));
  AddToCounter(&counters_.requests, 1);
}

void SocketServer::Answer(Connection* connection, SocketOpcode opcode, const absl::Status& status,
                          absl::string_view payload) {
  if (!status.ok()) payload = status.message().substr(0, kvs::kSocketMessageBytesMax);
  CHECK_LE(payload.size(), kvs::kValueBytesMax);
  const SocketResponseHeader header = {.opcode = static_cast<uint8_t>(opcode),
                                       .code = static_cast<uint8_t>(status.code()),
                                       .reserved0 = 0,
                                       .payload_bytes = static_cast<uint32_t>(payload.size())};
  connection->output.EnsureSpace(sizeof(header) + payload.size());
  connection->output.Append(&header, sizeof(header));
  connection->output.Append(payload.data(), payload.size());
}

void SocketServer::Refuse(Connection* connection, uint8_t opcode, absl::string_view why) {
  Answer(connection, static_cast<SocketOpcode>(opcode),
         absl::InvalidArgumentError(
             absl::StrCat("this request makes no sense, the connection is closed: ", why)),
         {});
  connection->input.Consume(connection->input.size_bytes());
  connection->refused = true;
  AddToCounter(&counters_.connections_refused, 1);
}

// Reads once. False: the connection is broken.
bool SocketServer::Receive(Connection* connection) {
  SocketBuffer& input = connection->input;
  // The buffer of a long request doubles as its bytes come: nobody gets memory for a mere header.
  input.EnsureSpace(
      std::max(kReceiveBytesMin, std::min(connection->wanted_bytes, input.size_bytes())));
  ssize_t got = 0;
  do {
    got = recv(connection->fd, input.space(), input.space_bytes(), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    connection->readable = false;
    return errno == EAGAIN;
  }
  if (got == 0) {
    connection->end_seen = true;
    return true;
  }
  // Less than there was room for is all there is, and the next byte makes an edge. The end does
  // too, unless it was reported already.
  const auto got_bytes = static_cast<size_t>(got);
  if (got_bytes < input.space_bytes() && !connection->peer_done) connection->readable = false;
  input.Produced(got_bytes);
  connection->turn_bytes += got_bytes;
  connection->wanted_bytes = 0;
  return true;
}

// After a refusal: says that nothing more follows and waits for the client to close, so that it
// gets to read the reason (closing with unread bytes would reset the connection). False: enough of
// that.
bool SocketServer::Discard(Connection* connection) {
  shutdown(connection->fd, SHUT_WR);
  while (connection->readable && !connection->end_seen) {
    const size_t before_bytes = connection->input.size_bytes();
    if (!Receive(connection)) return false;
    connection->discarded_bytes += connection->input.size_bytes() - before_bytes;
    connection->input.Consume(connection->input.size_bytes());
    if (connection->discarded_bytes > kDiscardBytesMax) return false;
  }
  return true;
}

// Sends as much as the kernel takes. False: the connection is broken.
bool SocketServer::Flush(Connection* connection) {
  SocketBuffer& output = connection->output;
  while (!output.empty()) {
    const absl::string_view bytes = output.readable();
    const ssize_t sent =
        send(connection->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN;
    }
    output.Consume(static_cast<size_t>(sent));
  }
  return true;
}

void SocketServer::TakeBuffers(Connection* connection) {
  for (SocketBuffer* buffer : {&connection->input, &connection->output}) {
    if (buffer->capacity_bytes() > 0 || free_buffers_.empty()) continue;
    buffer->Swap(&free_buffers_.back());
    free_buffers_.pop_back();
  }
}

void SocketServer::ReturnBuffers(Connection* connection) {
  for (SocketBuffer* buffer : {&connection->output, &connection->input}) {
    if (!buffer->empty() || buffer->capacity_bytes() == 0) continue;
    SocketBuffer returned;
    returned.Swap(buffer);
    if (returned.capacity_bytes() <= kFreeBufferBytesMax &&
        free_buffers_.size() < kFreeBuffersMax) {
      free_buffers_.push_back(std::move(returned));
    }
  }
}

}  // namespace acre::server
