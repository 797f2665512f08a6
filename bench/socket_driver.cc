// The socket baseline: many connections of one thread, driven without coroutines, as a good load
// generator for sockets is: one epoll, per wake-up one receive and one send for each connection.

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

#include "bench/driver.h"
#include "client/socket_connection.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// So many looks at the sockets find nothing before the thread sleeps: about 20 us.
constexpr int kLooksBeforeSleep = 50;
constexpr int kSleepMsMax = 100;
constexpr int kEventsMax = 256;

// A request under way.
struct Request {
  Operation operation;
  uint64_t begin_ticks;  // Of the operation: the read, where it is a read-modify-write.
  bool is_write;
};

class Line {
 public:
  Line(std::unique_ptr<SocketConnection> connection, uint32_t batch)
      : connection_(std::move(connection)), requests_(batch) {}

  SocketConnection& connection() { return *connection_; }
  bool alive() const { return connection_->status().ok(); }
  bool idle() const { return count_ == 0; }

  void Push(const Request& request) {
    CHECK_LT(count_, requests_.size());
    const size_t end = first_ + count_;
    requests_[end < requests_.size() ? end : end - requests_.size()] = request;
    ++count_;
  }
  Request Pop() {
    CHECK_GT(count_, 0u);
    const Request request = requests_[first_];
    if (++first_ == requests_.size()) first_ = 0;
    --count_;
    return request;
  }

 private:
  std::unique_ptr<SocketConnection> connection_;
  std::vector<Request> requests_;  // A ring, in the order in which they were sent.
  size_t first_ = 0;
  size_t count_ = 0;
};

class SocketDriver : public Driver {
 public:
  SocketDriver(const DriverOptions& options, const ThreadContext& context)
      : options_(options),
        context_(context),
        key_(options.key_bytes),
        written_(options.value_bytes, '\0') {}
  ~SocketDriver() override {
    if (epoll_fd_ >= 0) close(epoll_fd_);
  }

  absl::Status Connect() override {
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd_ < 0) return absl::ErrnoToStatus(errno, "epoll_create1");
    for (uint32_t i = 0; i < options_.connections; ++i) {
      absl::StatusOr<std::unique_ptr<SocketConnection>> connection = SocketConnection::Connect(
          options_.client.servers.front(), options_.client.connect_timeout_ms);
      if (!connection.ok()) return connection.status();
      auto line = std::make_unique<Line>(*std::move(connection), options_.batch);
      // Edges: readable, and writable again after a send that the kernel did not take whole.
      epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                           .data = {.ptr = line.get()}};
      if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, line->connection().fd(), &event) != 0) {
        return absl::ErrnoToStatus(errno, "epoll_ctl");
      }
      lines_.push_back(std::move(line));
    }
    return absl::OkStatus();
  }

  void RunSlice(uint64_t operations_max, Result* result) override {
    SliceRecorder recorder(options_, context_, operations_max, result);
    busy_lines_ = 0;
    for (const std::unique_ptr<Line>& line : lines_) {
      if (!line->alive()) {
        recorder.AddError(line->connection().status().ToString());
        continue;
      }
      for (uint32_t i = 0; i < options_.batch; ++i) Begin(line.get(), &recorder);
      if (!line->idle()) ++busy_lines_;
      Flush(line.get(), &recorder);
    }
    while (busy_lines_ > 0) Serve(&recorder);
  }

  Path path() const override { return Path::kTcp; }
  std::string fabric() const override { return "socket"; }

 private:
  void Begin(Line* line, SliceRecorder* recorder) {
    if (!recorder->MayBegin()) return;
    const Operation operation = context_.source->Next();
    const bool begins_with_read =
        operation.kind == OperationKind::kRead || operation.kind == OperationKind::kReadModifyWrite;
    if (begins_with_read) {
      line->connection().QueueGet(key_.Write(operation.record));
    } else {
      QueuePut(line, operation.record);
    }
    line->Push({operation, recorder->Ticks(), !begins_with_read});
  }

  void QueuePut(Line* line, uint64_t record) {
    WriteValue(record, context_.source->NextSequence(), written_.data(), written_.size());
    line->connection().QueuePut(key_.Write(record), written_);
  }

  // Waits for the sockets and does what they bring, once.
  void Serve(SliceRecorder* recorder) {
    epoll_event events[kEventsMax];
    int count = 0;
    for (int look = 0; count == 0 && look < kLooksBeforeSleep; ++look) {
      count = epoll_wait(epoll_fd_, events, kEventsMax, 0);
    }
    if (count == 0 && options_.client.poll != PollMode::kBusy) {
      count = epoll_wait(epoll_fd_, events, kEventsMax, kSleepMsMax);
    }
    PCHECK(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; ++i) {
      Line* const line = static_cast<Line*>(events[i].data.ptr);
      line->connection().NoteEvents(events[i].events);
      Receive(line, recorder);
    }
  }

  void Receive(Line* line, SliceRecorder* recorder) {
    SocketConnection& connection = line->connection();
    const bool was_idle = line->idle();  // Then this is its end.
    bool drained = false;
    while (!drained && connection.Receive(&drained).ok()) {
      SocketResponse response;
      while (connection.Next(&response)) Answered(line, response, recorder);
    }
    Flush(line, recorder);
    if (line->alive() && line->idle() && !was_idle) --busy_lines_;
  }

  void Answered(Line* line, const SocketResponse& response, SliceRecorder* recorder) {
    Request request = line->Pop();
    const Operation operation = request.operation;
    if (!request.is_write) {
      recorder->JudgeRead(operation.record, response.ToStatus(), response.payload);
      if (operation.kind == OperationKind::kReadModifyWrite) {
        request.is_write = true;
        QueuePut(line, operation.record);
        line->Push(request);
        return;
      }
    } else {
      recorder->JudgeWrite(operation, response.ToStatus());
    }
    recorder->AddTimed(request.begin_ticks, recorder->Ticks());
    recorder->AddDone();
    Begin(line, recorder);
  }

  void Flush(Line* line, SliceRecorder* recorder) {
    const absl::Status status = line->connection().Flush();
    if (!status.ok()) Abandon(line, status, recorder);
  }

  // The connection broke: all that was under way on it failed.
  void Abandon(Line* line, const absl::Status& status, SliceRecorder* recorder) {
    if (line->idle()) return;
    while (!line->idle()) {
      const Request request = line->Pop();
      if (request.is_write) {
        recorder->JudgeWrite(request.operation, status);
      } else {
        recorder->JudgeRead(request.operation.record, status, {});
      }
    }
    --busy_lines_;
  }

  const DriverOptions options_;
  const ThreadContext context_;
  int epoll_fd_ = -1;
  std::vector<std::unique_ptr<Line>> lines_;
  size_t busy_lines_ = 0;  // Lines with requests under way.
  KeyWriter key_;
  std::string written_;
};

}  // namespace

std::unique_ptr<Driver> MakeSocketDriver(const DriverOptions& options,
                                         const ThreadContext& context) {
  return std::make_unique<SocketDriver>(options, context);
}

}  // namespace acre::bench
