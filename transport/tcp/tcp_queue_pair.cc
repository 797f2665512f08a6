#include "transport/tcp/tcp_queue_pair.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/tcp/tcp_region.h"

namespace acre::transport {
namespace {

absl::StatusOr<TcpHello> MakeHello(const TcpContext& context, TcpRole role, const TcpToken& token,
                                   absl::string_view private_data) {
  if (private_data.size() > kPrivateDataBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("private data of ", private_data.size(),
                                                   " bytes; at most ", kPrivateDataBytesMax));
  }
  TcpHello hello = {};
  hello.magic = kTcpMagic;
  hello.version = kTcpVersion;
  hello.role = role;
  hello.token = token;
  hello.atomic_domain = context.atomic_domain;
  hello.private_data_bytes = static_cast<uint32_t>(private_data.size());
  std::copy(private_data.begin(), private_data.end(), hello.private_data);
  return hello;
}

absl::string_view BytesOf(const TcpHello& hello) {
  return {reinterpret_cast<const char*>(&hello), sizeof(hello)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpQueuePair>> TcpQueuePair::Connect(
    TcpContext* context, TcpCompletionQueue* completion_queue, Streams streams,
    const TcpToken& token, absl::string_view private_data) {
  const absl::StatusOr<TcpHello> own =
      MakeHello(*context, TcpRole::kMyRequests, token, private_data);
  if (!own.ok()) return own.status();
  const TcpHello other = *MakeHello(*context, TcpRole::kYourRequests, token, "");
  auto queue_pair = absl::WrapUnique(
      new TcpQueuePair(context, completion_queue, std::move(streams.own_requests)));
  queue_pair->token_ = token;
  queue_pair->output_.AppendWire(*own);
  // Which domain the peer has is not known yet. Nothing is granted to it before it is.
  absl::Status started = queue_pair->Start(std::move(streams.peer_requests), BytesOf(other),
                                           /*is_same_domain=*/true);
  if (!started.ok()) return started;
  queue_pair->Send();
  return queue_pair;
}

absl::StatusOr<std::unique_ptr<TcpQueuePair>> TcpQueuePair::Accept(
    TcpContext* context, TcpCompletionQueue* completion_queue, Streams streams,
    const TcpHello& peer_hello, absl::string_view private_data) {
  const absl::StatusOr<TcpHello> answer =
      MakeHello(*context, TcpRole::kAnswer, peer_hello.token, private_data);
  if (!answer.ok()) return answer.status();
  auto queue_pair = absl::WrapUnique(
      new TcpQueuePair(context, completion_queue, std::move(streams.own_requests)));
  absl::Status started = queue_pair->Start(std::move(streams.peer_requests), BytesOf(*answer),
                                           peer_hello.atomic_domain == context->atomic_domain);
  if (!started.ok()) return started;
  queue_pair->BecomeReady(peer_hello);
  return queue_pair;
}

TcpQueuePair::TcpQueuePair(TcpContext* context, TcpCompletionQueue* completion_queue,
                           ScopedFd stream)
    : context_(context),
      completion_queue_(completion_queue),
      link_(completion_queue->mailbox(), this, context->device.receive_queue_depth),
      send_queue_depth_(context->device.send_queue_depth_max),
      stream_(std::move(stream)),
      requester_(context->device.send_queue_depth_max, this) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

absl::Status TcpQueuePair::Start(ScopedFd peer_requests, absl::string_view greeting,
                                 bool is_same_domain) {
  const absl::Status attached = completion_queue_->Attach(this, stream_.get());
  if (!attached.ok()) return attached;
  is_attached_ = true;
  absl::StatusOr<uint64_t> number = context_->engine.Add(
      std::move(peer_requests), greeting,
      {.atomicity = context_->device.atomicity, .is_same_domain = is_same_domain}, &link_);
  if (!number.ok()) return number.status();
  engine_number_ = *number;
  return absl::OkStatus();
}

TcpQueuePair::~TcpQueuePair() {
  if (engine_number_ != 0) context_->engine.Remove(engine_number_);
  link_.mailbox->Forget(&link_);
  if (is_attached_) {
    if (stream_.is_open()) completion_queue_->Unwatch(stream_.get());
    completion_queue_->Detach(this);
  }
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

size_t TcpQueuePair::completions_max() const {
  // All requests, all receives when it breaks, kConnected, kDisconnected.
  return size_t{send_queue_depth_} + context_->device.receive_queue_depth + 2;
}

void TcpQueuePair::BecomeReady(const TcpHello& peer_hello) {
  peer_private_data_.assign(peer_hello.private_data, peer_hello.private_data_bytes);
  state_ = QueuePairState::kReady;
  if (HasReceives()) completion_queue_->AddReceiving(this);
}

absl::StatusOr<RemoteKey> TcpQueuePair::Grant(const MemoryRegion& region, uint32_t rights) {
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  const auto* tcp_region = dynamic_cast<const TcpRegion*>(&region);
  CHECK(tcp_region != nullptr) << "a region of another provider: register it first";
  const absl::Status judged = JudgeGrant(region, tcp_region->peer_rights(), rights);
  if (!judged.ok()) return judged;
  return context_->engine.Grant(engine_number_, tcp_region->exported(), rights);
}

absl::StatusOr<MappedRegion> TcpQueuePair::Map(RemoteKey /*key*/) {
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  return absl::FailedPreconditionError("memory behind a tcp connection cannot be mapped");
}

absl::Status TcpQueuePair::DoPost(absl::Span<const WorkRequest> batch) {
  CHECK(!batch.empty());
  if (state_ == QueuePairState::kConnecting) {
    return absl::FailedPreconditionError("still connecting: wait for kConnected");
  }
  if (batch.size() > send_queue_depth_ - outstanding_) {
    return absl::ResourceExhaustedError("the send queue is full: poll completions first");
  }
  outstanding_ += static_cast<uint32_t>(batch.size());
  for (const WorkRequest& request : batch) {
    CheckLocalBuffer(request, context_->device);
    if (state_ == QueuePairState::kBroken) {
      OnAnswer(request, CompletionStatus::kFlushed);
    } else {
      requester_.Post(request, &output_);
    }
  }
  if (state_ == QueuePairState::kBroken) return absl::OkStatus();
  if (!is_send_blocked_) Send();
  SetWaiting();
  return absl::OkStatus();
}

void TcpQueuePair::Send() {
  // An error shows when the answers are read: they may say why.
  bool is_blocked = false;
  while (output_.pending_bytes() > 0 && !is_blocked) {
    const StreamResult result = SendTo(stream_.get(), output_.data(), output_.pending_bytes());
    if (result.kind == StreamResult::Kind::kBroken) break;
    is_blocked = result.kind == StreamResult::Kind::kLater;
    output_.Sent(result.bytes);
    if (requester_.has_unsent()) requester_.Encode(&output_);
  }
  if (is_blocked == is_send_blocked_) return;
  is_send_blocked_ = is_blocked;
  completion_queue_->Watch(this, stream_.get(), is_blocked);
}

void TcpQueuePair::OnStream(uint32_t events) {
  if (!stream_.is_open()) return;
  if ((events & EPOLLOUT) != 0) Send();
  if ((events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) Receive();
}

void TcpQueuePair::Receive() {
  std::vector<uint64_t>* const words = completion_queue_->input();
  char* const bytes = reinterpret_cast<char*>(words->data());
  std::memcpy(bytes, rest_.data(), rest_bytes_);  // private memory
  const StreamResult result =
      ReceiveFrom(stream_.get(), bytes + rest_bytes_, words->size() * kWordBytes - rest_bytes_);
  switch (result.kind) {
    case StreamResult::Kind::kLater:
      return;
    case StreamResult::Kind::kMoved:
      break;
    case StreamResult::Kind::kEnd:
    case StreamResult::Kind::kBroken:
      return Break(state_ == QueuePairState::kConnecting && result.kind == StreamResult::Kind::kEnd
                       ? absl::UnavailableError("the peer rejected the connection")
                       : WhyEnded(result),
                   FirstStatusAfter(result));
  }
  TcpInput input(words->data(), rest_bytes_ + result.bytes);
  if (absl::Status taken = OnInput(&input); !taken.ok()) {
    return Break(absl::UnavailableError(absl::IsAborted(taken)
                                            ? std::string(taken.message())
                                            : absl::StrCat("dropped the peer: ", taken.message())),
                 CompletionStatus::kFlushed);
  }
  CHECK_LT(input.bytes(), rest_.size());
  rest_bytes_ = input.bytes();
  std::memcpy(rest_.data(), input.words(), rest_bytes_);  // private memory
  SetWaiting();
}

absl::Status TcpQueuePair::OnInput(TcpInput* input) {
  if (state_ == QueuePairState::kConnecting) {
    const absl::Status status = OnAnswerHello(input);
    if (!status.ok() || state_ == QueuePairState::kConnecting) return status;
  }
  return requester_.Consume(input);
}

absl::Status TcpQueuePair::OnAnswerHello(TcpInput* input) {
  TcpHello hello;
  if (!input->Peek(&hello)) return absl::OkStatus();
  if (const auto why = WhyInvalid(hello)) return absl::InvalidArgumentError(*why);
  if (hello.role != TcpRole::kAnswer || hello.token != token_) {
    return absl::InvalidArgumentError("its hello is no answer to ours");
  }
  input->Take(sizeof(hello));
  if (hello.atomic_domain != context_->atomic_domain) {
    context_->engine.SetForeignDomain(engine_number_);
  }
  BecomeReady(hello);
  completion_queue_->Push({.kind = CompletionKind::kConnected, .queue_pair = this}, 0);
  return absl::OkStatus();
}

void TcpQueuePair::SetWaiting() {
  const bool is_waiting = requester_.has_unanswered();
  if (is_waiting == is_waiting_) return;
  is_waiting_ = is_waiting;
  if (is_waiting) {
    completion_queue_->AddWaiting(this);
  } else {
    completion_queue_->RemoveWaiting(this);
  }
}

void TcpQueuePair::OnAnswer(const WorkRequest& request, CompletionStatus status) {
  if (status == CompletionStatus::kOk && !request.signaled) {
    ++unsignaled_;
    return;
  }
  completion_queue_->Push({.kind = CompletionKind::kSend,
                           .status = status,
                           .opcode = request.opcode,
                           .length_bytes = LengthOf(request),
                           .id = request.id,
                           .queue_pair = this},
                          unsignaled_ + 1);
  unsignaled_ = 0;
}

size_t TcpQueuePair::TakeReceives(absl::Span<Completion> completions) {
  size_t taken = 0;
  bool must_resume = false;
  TcpReceiveQueue::Entry entry;
  bool has_stalled = false;
  while (taken < completions.size() && link_.receives.Pop(&entry, &has_stalled)) {
    must_resume = must_resume || has_stalled;
    completions[taken++] = {.kind = CompletionKind::kReceive,
                            .opcode = Opcode::kWriteWithImm,
                            .immediate = entry.immediate,
                            .length_bytes = entry.length_bytes,
                            .queue_pair = this};
  }
  if (must_resume) context_->engine.Resume(engine_number_);
  return taken;
}

void TcpQueuePair::OnMail() {
  const TcpEnd end = link_.end.load(std::memory_order_acquire);
  if (end == TcpEnd::kNo) return;
  if (state_ != QueuePairState::kBroken) {
    // An answer that says why may have come on our stream.
    Receive();
  }
  if (state_ != QueuePairState::kBroken) {
    if (end == TcpEnd::kOverdue || !requester_.has_unanswered()) {
      Break(state_ == QueuePairState::kConnecting
                ? absl::UnavailableError("the peer rejected the connection")
                : link_.end_status,
            CompletionStatus::kFlushed);
    } else if (!is_closing_) {
      // It may also be on its way: the peer ends our stream when it has sent it.
      is_closing_ = true;
      shutdown(stream_.get(), SHUT_WR);
    }
  }
  ReportIfOver();
}

void TcpQueuePair::Break(absl::Status why, CompletionStatus first) {
  if (state_ == QueuePairState::kBroken) return;
  state_ = QueuePairState::kBroken;
  status_ = std::move(why);
  requester_.Flush(first);
  SetWaiting();
  completion_queue_->Unwatch(stream_.get());
  stream_.Close();
  output_.Clear();
  context_->engine.ShutDown(engine_number_);
  ReportIfOver();
}

void TcpQueuePair::ReportIfOver() {
  if (is_over_ || state_ != QueuePairState::kBroken ||
      link_.end.load(std::memory_order_acquire) == TcpEnd::kNo) {
    return;
  }
  is_over_ = true;
  // What the peer wrote before it went is delivered, as a card would have done.
  std::vector<Completion> last(context_->device.receive_queue_depth);
  last.resize(TakeReceives(absl::MakeSpan(last)));
  for (const Completion& completion : last) completion_queue_->Push(completion, 0);
  completion_queue_->Push({.kind = CompletionKind::kDisconnected, .queue_pair = this}, 0);
}

}  // namespace acre::transport
