#include "transport/tcp/tcp_engine.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/quiet_thread.h"
#include "runtime/this_thread.h"

namespace acre::transport {
namespace {

constexpr size_t kEventsPerWait = 64;
// How long a peer may take to read the answer that ends its connection, or to end its other stream.
constexpr uint64_t kLingerNs = 1'000'000'000;
constexpr int kDeadlineLookMs = 100;
// Rounds of one stream in a row: others wait meanwhile.
constexpr int kRoundsPerTurn = 4;
// How far a spin reaches: the turn of a peer that has to be woken for our answer.
constexpr double kSpinNs = 50'000;
// A clock that a test holds still must not keep us from sleeping.
constexpr int kLooksPerSpinMax = 1000;

int Look(int epoll_fd, absl::Span<epoll_event> events, int timeout_ms) {
  const int count =
      epoll_wait(epoll_fd, events.data(), static_cast<int>(events.size()), timeout_ms);
  PCHECK(count >= 0 || errno == EINTR) << "epoll_wait";
  return std::max(count, 0);
}

}  // namespace

TcpEngine::TcpEngine(Clock* clock)
    : clock_(clock),
      tick_clock_(clock->tick_clock()),
      spin_ticks_(static_cast<uint64_t>(clock->ticks_per_ns() * kSpinNs)) {}

TcpEngine::~TcpEngine() {
  absl::optional<pthread_t> thread;
  {
    const MutexLock lock(&mutex_);
    thread = thread_;
    for (const auto& [number, stream] : streams_) {
      CHECK(stream->link == nullptr) << "a queue pair outlives its fabric";
    }
  }
  if (!thread.has_value()) return;
  const uint64_t one = 1;
  PCHECK(write(stop_fd_.get(), &one, sizeof(one)) == sizeof(one));
  CHECK_EQ(pthread_join(*thread, nullptr), 0);
}

absl::Status TcpEngine::StartThread() {
  if (thread_.has_value()) return absl::OkStatus();
  epoll_fd_ = ScopedFd(epoll_create1(EPOLL_CLOEXEC));
  stop_fd_ = ScopedFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = 0}};
  if (!epoll_fd_.is_open() || !stop_fd_.is_open() ||
      epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, stop_fd_.get(), &event) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot serve tcp peers: ", strerror(errno), " (ulimit -n?)"));
  }
  input_.resize(kTcpBufferBytes / kWordBytes);
  const auto thread = StartQuietThread([this] { Run(); });
  if (!thread.ok()) return thread.status();
  thread_ = *thread;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> TcpEngine::Add(ScopedFd fd, absl::string_view greeting,
                                        const TcpResponder::Options& options, TcpLink* link) {
  const MutexLock lock(&mutex_);
  absl::Status started = StartThread();
  if (!started.ok()) return started;
  const uint64_t number = ++numbers_given_;
  auto stream = std::make_unique<Stream>(number, std::move(fd), options, link);
  if (!greeting.empty()) {
    auto* const to = stream->unsent.Append(greeting.size());
    std::memcpy(to, greeting.data(), greeting.size());  // private memory
  }
  // Writable: the greeting goes out when the stream is connected.
  stream->watched = greeting.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT;
  epoll_event event = {.events = stream->watched, .data = {.u64 = number}};
  if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, stream->fd.get(), &event) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot serve another tcp peer: ", strerror(errno)));
  }
  streams_.emplace(number, std::move(stream));
  return number;
}

TcpEngine::Stream* TcpEngine::Find(uint64_t number) {
  const auto found = streams_.find(number);
  return found == streams_.end() ? nullptr : found->second.get();
}

absl::StatusOr<RemoteKey> TcpEngine::Grant(uint64_t number, std::shared_ptr<const TcpExport> region,
                                           uint32_t rights) {
  const MutexLock lock(&mutex_);
  return Find(number)->responder.Grant(std::move(region), rights);
}

void TcpEngine::SetForeignDomain(uint64_t number) {
  const MutexLock lock(&mutex_);
  Find(number)->responder.set_foreign_domain();
}

void TcpEngine::Resume(uint64_t number) {
  const MutexLock lock(&mutex_);
  Stream* const stream = Find(number);
  if (stream->state != State::kRunning) return;
  stream->is_stalled = false;
  // Writable, as it nearly always is: the thread wakes for what was received and can go on now.
  Watch(stream, EPOLLIN | EPOLLOUT);
}

void TcpEngine::ShutDown(uint64_t number) {
  const MutexLock lock(&mutex_);
  Stream* const stream = Find(number);
  // The thread wakes for it: it drains the stream and comes to its end.
  if (stream->state == State::kRunning) shutdown(stream->fd.get(), SHUT_RDWR);
}

void TcpEngine::Remove(uint64_t number) {
  const MutexLock lock(&mutex_);
  Stream* const stream = Find(number);
  stream->link = nullptr;
  // An answer that ends the connection still has its time to arrive.
  if (stream->state == State::kFailing || stream->state == State::kLingering) {
    SetDeadline(stream);
    return;
  }
  if (stream->deadline_ns != 0) --deadlines_count_;
  streams_.erase(number);
}

void TcpEngine::Withdraw(TcpExport* region) {
  const MutexLock lock(&mutex_);
  region->words = nullptr;
}

void TcpEngine::Run() {
  std::array<epoll_event, kEventsPerWait> events;
  while (true) {
    const int count = Wait(absl::MakeSpan(events));
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == 0) return;
      Serve(events[i].data.u64, events[i].events);
    }
    LookAtDeadlines();
  }
}

int TcpEngine::Wait(absl::Span<epoll_event> events) {
  // What was written is a message as a rule: the thread that takes it needs a core, and the next request
  // depends on it.
  const bool is_message_out = std::exchange(has_written_, false);
  if (!is_message_out && spin_judge_.ShouldSpin()) {
    const int count = Spin(events);
    if (count > 0) return count;
  }
  return Look(epoll_fd_.get(), events, WaitMs());
}

int TcpEngine::Spin(absl::Span<epoll_event> events) {
  int count = Look(epoll_fd_.get(), events, 0);
  if (count > 0) return count;  // Not a wait at all.
  const uint64_t begin_ticks = tick_clock_.Ticks();
  bool is_in_reach = true;
  for (int look = 1; count == 0 && is_in_reach && look < kLooksPerSpinMax; ++look) {
    PauseThread();
    is_in_reach = tick_clock_.Ticks() - begin_ticks < spin_ticks_;
    count = Look(epoll_fd_.get(), events, 0);
  }
  // Late: another thread had the core meanwhile. What came would have woken us, asleep, sooner.
  spin_judge_.Report(/*paid=*/count > 0 && is_in_reach);
  return count;
}

int TcpEngine::WaitMs() {
  const MutexLock lock(&mutex_);
  return deadlines_count_ > 0 ? kDeadlineLookMs : -1;
}

void TcpEngine::Serve(uint64_t number, uint32_t events) {
  const MutexLock lock(&mutex_);
  Stream* const stream = Find(number);
  if (stream == nullptr) return;
  switch (stream->state) {
    case State::kRunning:
      return ServeRunning(stream, events);
    case State::kFailing:
      if (SendUnsent(stream)) Linger(stream);
      return;
    case State::kLingering:
      return Discard(stream);
    case State::kEnded:
      return;  // An event from before the end.
  }
}

void TcpEngine::ServeRunning(Stream* stream, uint32_t events) {
  if (stream->is_stalled) {
    // Nothing is received meanwhile, so an end of the stream is all that can be new.
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
      End(stream, WhyEnded({.kind = StreamResult::Kind::kEnd}));
    }
    return;
  }
  if (!SendUnsent(stream)) {
    if (stream->state == State::kRunning) WatchForWork(stream);
    return;
  }
  for (int round = 0; round < kRoundsPerTurn; ++round) {
    if (!Advance(stream)) return;
  }
  Watch(stream, EPOLLIN | EPOLLOUT);  // There is more to execute: come back at once.
}

bool TcpEngine::Advance(Stream* stream) {
  size_t bytes = stream->input_bytes;
  if (bytes > 0) std::memcpy(input_.data(), stream->input.data(), bytes);  // private memory
  const absl::optional<StreamResult> ended = ReceiveMore(stream, &bytes);
  if (ended.has_value()) {
    End(stream, WhyEnded(*ended));
    return false;
  }
  if (bytes == stream->input_bytes && bytes < sizeof(TcpRequestWire) && !stream->is_at_end &&
      !stream->responder.is_answering()) {
    WatchForWork(stream);
    return false;
  }
  TcpInput input(input_.data(), bytes);
  bool received;
  const TcpResponder::Outcome outcome = stream->responder.Run(&input, &output_, &received);
  if (stream->responder.has_written()) has_written_ = true;
  if (received) stream->link->mailbox->Notify(stream->link, /*wakes=*/false);
  KeepInput(stream, input);
  if (!SendOutput(stream)) return false;
  return OnOutcome(stream, outcome);
}

absl::optional<StreamResult> TcpEngine::ReceiveMore(Stream* stream, size_t* bytes) {
  // What is there already keeps us busy.
  if (stream->is_at_end || *bytes > kTcpBufferBytes / 2) return absl::nullopt;
  const StreamResult result = ReceiveFrom(
      stream->fd.get(), reinterpret_cast<char*>(input_.data()) + *bytes, kTcpBufferBytes - *bytes);
  switch (result.kind) {
    case StreamResult::Kind::kMoved:
      *bytes += result.bytes;
      return absl::nullopt;
    case StreamResult::Kind::kLater:
      return absl::nullopt;
    case StreamResult::Kind::kEnd:
      stream->is_at_end = true;
      return absl::nullopt;
    case StreamResult::Kind::kBroken:
      break;
  }
  return result;
}

void TcpEngine::KeepInput(Stream* stream, const TcpInput& input) {
  stream->input_bytes = input.bytes();
  if (input.bytes() == 0) return;
  stream->input.resize((input.bytes() + kWordBytes - 1) / kWordBytes);
  std::memcpy(stream->input.data(), input.words(), input.bytes());  // private memory
}

bool TcpEngine::OnOutcome(Stream* stream, TcpResponder::Outcome outcome) {
  switch (outcome) {
    case TcpResponder::Outcome::kNoInput:
      if (stream->is_at_end && stream->unsent.pending_bytes() == 0) {
        End(stream, WhyEnded({.kind = StreamResult::Kind::kEnd}));
      } else {
        WatchForWork(stream);
      }
      return false;
    case TcpResponder::Outcome::kNoRoom:
      if (stream->unsent.pending_bytes() == 0) return true;
      WatchForWork(stream);
      return false;
    case TcpResponder::Outcome::kStalled:
      if (stream->is_at_end) {
        End(stream, WhyEnded({.kind = StreamResult::Kind::kEnd}));
        return false;
      }
      stream->is_stalled = true;
      Watch(stream, EPOLLRDHUP);
      return false;
    case TcpResponder::Outcome::kRefused:
      stream->state = State::kFailing;
      stream->input_bytes = 0;
      SetDeadline(stream);
      if (stream->unsent.pending_bytes() == 0) {
        Linger(stream);
      } else {
        Watch(stream, EPOLLOUT);
      }
      return false;
    case TcpResponder::Outcome::kGarbage:
      break;
  }
  End(stream,
      absl::UnavailableError(absl::StrCat("dropped the peer: ", stream->responder.why_garbage())));
  return false;
}

bool TcpEngine::SendOutput(Stream* stream) {
  if (output_.pending_bytes() == 0) return true;
  const StreamResult result = SendTo(stream->fd.get(), output_.data(), output_.pending_bytes());
  if (result.kind == StreamResult::Kind::kBroken) {
    output_.Clear();
    End(stream, WhyEnded(result));
    return false;
  }
  output_.Sent(result.bytes);
  if (output_.pending_bytes() > 0) {
    // Whole words, so that it fits what keeps them: the part of one that was sent goes along.
    const size_t part_bytes = result.bytes % kWordBytes;
    const size_t kept_bytes = output_.pending_bytes() + part_bytes;
    auto* const to = stream->unsent.Append(kept_bytes);
    std::memcpy(to, output_.data() - part_bytes, kept_bytes);  // private memory
    if (part_bytes > 0) stream->unsent.Sent(part_bytes);
    output_.Clear();
  }
  return true;
}

bool TcpEngine::SendUnsent(Stream* stream) {
  while (stream->unsent.pending_bytes() > 0) {
    const StreamResult result =
        SendTo(stream->fd.get(), stream->unsent.data(), stream->unsent.pending_bytes());
    if (result.kind == StreamResult::Kind::kBroken) {
      End(stream, WhyEnded(result));
      return false;
    }
    if (result.kind == StreamResult::Kind::kLater) return false;
    stream->unsent.Sent(result.bytes);
  }
  return true;
}

void TcpEngine::Linger(Stream* stream) {
  stream->state = State::kLingering;
  shutdown(stream->fd.get(), SHUT_WR);
  Watch(stream, EPOLLIN);
  SetDeadline(stream);
  TellEnd(stream, absl::UnavailableError(
                      absl::StrCat("a request of the peer failed: ",
                                   CompletionStatusName(stream->responder.refused_with()))));
}

void TcpEngine::Discard(Stream* stream) {
  const StreamResult result = ReceiveFrom(stream->fd.get(), input_.data(), kTcpBufferBytes);
  if (result.kind == StreamResult::Kind::kMoved || result.kind == StreamResult::Kind::kLater) {
    return;
  }
  End(stream, WhyEnded(result));
}

void TcpEngine::End(Stream* stream, const absl::Status& why) {
  stream->state = State::kEnded;
  stream->fd.Close();
  stream->input = {};
  stream->input_bytes = 0;
  stream->unsent.Clear();
  if (stream->link == nullptr) {
    if (stream->deadline_ns != 0) --deadlines_count_;
    streams_.erase(stream->number);
    return;
  }
  if (stream->deadline_ns == 0) SetDeadline(stream);
  TellEnd(stream, why);
}

void TcpEngine::TellEnd(Stream* stream, const absl::Status& why) {
  TcpLink* const link = stream->link;
  if (link == nullptr || link->end.load(std::memory_order_relaxed) != TcpEnd::kNo) return;
  link->end_status = why;
  link->end.store(TcpEnd::kEnded, std::memory_order_release);
  link->mailbox->Notify(link, /*wakes=*/true);
}

void TcpEngine::SetDeadline(Stream* stream) {
  if (stream->deadline_ns == 0) ++deadlines_count_;
  stream->deadline_ns = clock_->NowNs() + kLingerNs;
}

void TcpEngine::LookAtDeadlines() {
  const MutexLock lock(&mutex_);
  if (deadlines_count_ == 0) return;
  const uint64_t now_ns = clock_->NowNs();
  std::vector<Stream*> due;
  for (const auto& [number, stream] : streams_) {
    if (stream->deadline_ns != 0 && stream->deadline_ns <= now_ns) due.push_back(stream.get());
  }
  for (Stream* const stream : due) {
    --deadlines_count_;
    stream->deadline_ns = 0;
    TcpLink* const link = stream->link;
    if (link == nullptr) {
      streams_.erase(stream->number);
      continue;
    }
    stream->state = State::kEnded;
    stream->fd.Close();
    if (link->end.load(std::memory_order_relaxed) == TcpEnd::kNo) {
      link->end_status = absl::UnavailableError("a request of the peer failed");
    }
    link->end.store(TcpEnd::kOverdue, std::memory_order_release);
    link->mailbox->Notify(link, /*wakes=*/true);
  }
}

void TcpEngine::WatchForWork(Stream* stream) {
  // With answers unsent nothing more is executed, nor received.
  Watch(stream, stream->unsent.pending_bytes() > 0 ? EPOLLOUT : EPOLLIN);
}

void TcpEngine::Watch(Stream* stream, uint32_t events) {
  if (stream->watched == events) return;
  stream->watched = events;
  epoll_event event = {.events = events, .data = {.u64 = stream->number}};
  PCHECK(epoll_ctl(epoll_fd_.get(), EPOLL_CTL_MOD, stream->fd.get(), &event) == 0);
}

}  // namespace acre::transport
