// The socket baseline: many connections of one thread, driven without coroutines, as a good load
// generator for sockets is: one epoll, per wake-up one receive and one send for each connection.

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "bench/driver.h"
#include "client/socket_connection.h"
#include "glog/logging.h"
#include "runtime/system_random.h"
#include "transport/secret.h"

namespace acre::bench {
namespace {

// So many looks at the sockets find nothing before the thread sleeps: about 20 us.
constexpr int kLooksBeforeSleep = 50;
constexpr int kSleepMsMax = 100;
constexpr int kEventsMax = 256;
// Open loop: the thread sleeps for whole milliseconds, and only while the next start is further away than
// that and this: being woken takes tens of microseconds, which would count as the store's.
constexpr double kSpinMs = 0.3;
// At most then, so that the end of the slice is noticed.
constexpr int kPacedSleepMsMax = 5;

// A request under way.
struct Request {
  Operation operation;
  // Of the operation: the read, where it is a read-modify-write. Open loop: the intended start.
  uint64_t begin_ticks;
  bool is_write;
};

class Line {
 public:
  Line(std::unique_ptr<SocketConnection> connection, uint32_t batch)
      : connection_(std::move(connection)), requests_(batch) {}

  SocketConnection& connection() { return *connection_; }
  bool alive() const { return connection_->status().ok(); }
  bool idle() const { return count_ == 0; }
  bool has_room() const { return count_ < requests_.size(); }

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
    transport::Credentials credentials;
    if (!options_.client.secret_file.empty()) {
      auto secret = transport::Secret::ReadFile(options_.client.secret_file);
      if (!secret.ok()) return secret.status();
      credentials = {*std::move(secret), FillSystemRandom};
    }
    for (uint32_t i = 0; i < options_.connections; ++i) {
      absl::StatusOr<std::unique_ptr<SocketConnection>> connection = SocketConnection::Connect(
          options_.client.servers.front(), options_.client.connect_timeout_ms, credentials);
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
    for (const std::unique_ptr<Line>& line : lines_) {
      if (!line->alive()) recorder.AddError(line->connection().status().ToString());
    }
    if (context_.pacer != nullptr) {
      RunPaced(&recorder);
    } else {
      Fill(&recorder);
    }
    while (under_way_ > 0) Serve(SleepMsMax(), &recorder);
  }

  Path path() const override { return Path::kTcp; }
  std::string fabric() const override { return "socket"; }

 private:
  // Closed loop: what is under way goes up to the batch on each line, and an answer begins the next.
  void Fill(SliceRecorder* recorder) {
    for (const std::unique_ptr<Line>& line : lines_) {
      if (!line->alive()) continue;
      for (uint32_t i = 0; i < options_.batch; ++i) BeginAnother(line.get(), recorder);
      Flush(line.get(), recorder);
    }
  }

  // Open loop, till the slice is over: operations that are due go to the lines in turn.
  void RunPaced(SliceRecorder* recorder) {
    bool is_over = false;
    while (!is_over && context_.stop->Load(std::memory_order_relaxed) == 0) {
      bool is_full = false;
      while (context_.pacer->IsDue(recorder->Ticks())) {
        Line* const line = NextWithRoom();
        is_full = line == nullptr;
        if (is_full) break;
        is_over = !recorder->MayBegin();
        if (is_over) break;
        const uint64_t intended_ticks = context_.pacer->next_ticks();
        context_.pacer->Advance();
        Begin(line, intended_ticks);
        begun_lines_.push_back(line);
      }
      for (Line* line : begun_lines_) Flush(line, recorder);
      begun_lines_.clear();
      // What is late and finds no room waits for an answer.
      Serve(is_full ? std::min(SleepMsMax(), kPacedSleepMsMax) : PacedSleepMs(*recorder), recorder);
    }
    recorder->PauseSchedule();
  }

  // Null: every line that lives has its batch under way.
  Line* NextWithRoom() {
    if (under_way_ == lines_.size() * options_.batch) return nullptr;
    for (size_t i = 0; i < lines_.size(); ++i) {
      if (++turn_ >= lines_.size()) turn_ = 0;
      Line* const line = lines_[turn_].get();
      if (line->has_room() && line->alive()) return line;
    }
    return nullptr;
  }

  void BeginAnother(Line* line, SliceRecorder* recorder) {
    if (recorder->MayBegin()) Begin(line, recorder->Ticks());
  }

  void Begin(Line* line, uint64_t begin_ticks) {
    const Operation operation = context_.source->Next();
    const bool begins_with_read =
        operation.kind == OperationKind::kRead || operation.kind == OperationKind::kReadModifyWrite;
    if (begins_with_read) {
      line->connection().QueueGet(key_.Write(operation.record));
    } else {
      QueuePut(line, operation.record);
    }
    line->Push({operation, begin_ticks, !begins_with_read});
    ++under_way_;
  }

  void QueuePut(Line* line, uint64_t record) {
    WriteValue(record, context_.source->NextSequence(), written_.data(), written_.size());
    line->connection().QueuePut(key_.Write(record), written_);
  }

  int SleepMsMax() const { return options_.client.poll == PollMode::kBusy ? 0 : kSleepMsMax; }

  // Till shortly before the next start. 0: it is near, the thread must not sleep.
  int PacedSleepMs(const SliceRecorder& recorder) const {
    const uint64_t now_ticks = recorder.Ticks();
    if (context_.pacer->IsDue(now_ticks)) return 0;
    const double left_ms = static_cast<double>(context_.pacer->next_ticks() - now_ticks) *
                           recorder.ns_per_tick() * 1e-6;
    const double sleep_ms = std::clamp(left_ms - kSpinMs, 0.0, double{kPacedSleepMsMax});
    return std::min(SleepMsMax(), static_cast<int>(sleep_ms));
  }

  // Waits for the sockets and does what they bring, once. 0: looks at them once.
  void Serve(int sleep_ms_max, SliceRecorder* recorder) {
    epoll_event events[kEventsMax];
    int count = epoll_wait(epoll_fd_, events, kEventsMax, 0);
    if (sleep_ms_max > 0) {
      for (int look = 1; count == 0 && look < kLooksBeforeSleep; ++look) {
        count = epoll_wait(epoll_fd_, events, kEventsMax, 0);
      }
      if (count == 0) count = epoll_wait(epoll_fd_, events, kEventsMax, sleep_ms_max);
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
    bool drained = false;
    while (!drained && connection.Receive(&drained).ok()) {
      SocketResponse response;
      while (connection.Next(&response)) Answered(line, response, recorder);
    }
    Flush(line, recorder);
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
    --under_way_;
    recorder->AddTimed(request.begin_ticks, recorder->Ticks());
    recorder->AddDone();
    if (context_.pacer == nullptr) BeginAnother(line, recorder);
  }

  void Flush(Line* line, SliceRecorder* recorder) {
    const absl::Status status = line->connection().Flush();
    if (!status.ok()) Abandon(line, status, recorder);
  }

  // The connection broke: all that was under way on it failed.
  void Abandon(Line* line, const absl::Status& status, SliceRecorder* recorder) {
    while (!line->idle()) {
      const Request request = line->Pop();
      --under_way_;
      if (request.is_write) {
        recorder->JudgeWrite(request.operation, status);
      } else {
        recorder->JudgeRead(request.operation.record, status, {});
      }
    }
  }

  const DriverOptions options_;
  const ThreadContext context_;
  int epoll_fd_ = -1;
  std::vector<std::unique_ptr<Line>> lines_;
  size_t under_way_ = 0;  // Operations, on all lines.
  // Open loop: the line that had the last operation, and those with requests to be sent.
  size_t turn_ = 0;
  std::vector<Line*> begun_lines_;
  KeyWriter key_;
  std::string written_;
};

}  // namespace

std::unique_ptr<Driver> MakeSocketDriver(const DriverOptions& options,
                                         const ThreadContext& context) {
  return std::make_unique<SocketDriver>(options, context);
}

}  // namespace acre::bench
