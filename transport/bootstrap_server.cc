#include "transport/bootstrap_server.h"

#include <errno.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "runtime/wait_queue.h"
#include "transport/address.h"
#include "transport/secret_bytes.h"
#include "transport/socket.h"

namespace acre::transport {
namespace {

constexpr int kAcceptsPerPass = 64;
constexpr uint64_t kNoDescriptorsPauseNs = 100'000'000;
constexpr uint64_t kNsPerMs = 1'000'000;

// What a client that is refused may still send while it has not read why.
constexpr size_t kUnreadBytesMax = 4 << 20;

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

absl::Status NoSecretShown() {
  return absl::PermissionDeniedError(
      "the server asks for a secret, and the client shows none: give it the server's "
      "--secret_file");
}

}  // namespace

// One connection between accept and its end or its hand-over. Its task owns it.
class BootstrapServer::HalfOpen {
 public:
  HalfOpen(BootstrapServer* server, ScopedFd fd)
      : peer(PeerAddress(fd.get())),
        stream(server->scheduler_, std::move(fd)),
        deadline_ns(server->scheduler_->NowNs() + server->options_.handshake_timeout_ns),
        arrived(server->scheduler_),
        server_(server),
        place_(server->half_open_.insert(server->half_open_.end(), this)) {}
  ~HalfOpen() { Forget(); }
  HalfOpen(const HalfOpen&) = delete;
  HalfOpen& operator=(const HalfOpen&) = delete;

  // Out of the list: it counts no more, and its token is void.
  void Forget() {
    if (forgotten_) return;
    forgotten_ = true;
    server_->half_open_.erase(place_);
  }
  // Its task ends in the next pass.
  void Evict() {
    Forget();
    stream.Abort();
    arrived.Set();
  }

  const SocketAddress peer;
  Stream stream;
  const uint64_t deadline_ns;
  SecretTranscript transcript;
  bool is_proven = false;  // Has shown the secret, or has a token. Strangers do not crowd it out.
  bool has_token = false;  // The Welcome is on its way.
  BootstrapToken token{};
  uint32_t process_id = 0;
  bool is_control = false;
  // Set when the client has come on a fabric: then `request` is not null.
  Event arrived;
  std::unique_ptr<ConnectionRequest> request;
  std::string fabric;

 private:
  BootstrapServer* const server_;
  const std::list<HalfOpen*>::iterator place_;
  bool forgotten_ = false;
};

BootstrapServer::BootstrapServer(Scheduler* scheduler, BootstrapServerOptions options,
                                 std::vector<OfferedFabric> fabrics, ScopedFd listening,
                                 Delegate* delegate)
    : scheduler_(scheduler),
      options_(std::move(options)),
      fabrics_(std::move(fabrics)),
      listening_(std::move(listening)),
      delegate_(delegate) {
  CHECK(options_.generation != 0 && options_.lease_ns != 0 && options_.fill_random);
  CHECK(!WhyInvalid(options_.place).has_value());
  CHECK_GE(options_.half_open_max, 1u);
  WatchDoor();
  for (const OfferedFabric& fabric : fabrics_) {
    const absl::Status watched = scheduler_->WatchFd(
        fabric.listener->fd(), EPOLLIN, [this, &fabric](uint32_t) { OnFabric(fabric); });
    CHECK(watched.ok()) << watched;
    fabric.listener->SetRefused([this, &fabric](absl::string_view peer, const absl::Status& why) {
      const bool is_crowd = absl::IsResourceExhausted(why);
      Note(is_crowd ? RefusalReason::kCrowd : RefusalReason::kNonsense, fabric, peer, why);
    });
  }
}

BootstrapServer::~BootstrapServer() {
  scheduler_->UnwatchFd(listening_.get());
  for (const OfferedFabric& fabric : fabrics_) {
    scheduler_->UnwatchFd(fabric.listener->fd());
    fabric.listener->SetRefused(nullptr);
  }
  reopening_.Cancel();
  for (SpawnHandle& task : serving_) task.Cancel();
}

void BootstrapServer::WatchDoor() {
  const absl::Status watched =
      scheduler_->WatchFd(listening_.get(), EPOLLIN, [this](uint32_t) { OnDoor(); });
  CHECK(watched.ok()) << watched;
}

void BootstrapServer::OnDoor() {
  serving_.remove_if([](const SpawnHandle& task) { return task.done(); });
  for (int i = 0; i < kAcceptsPerPass; ++i) {
    int error;
    ScopedFd fd = AcceptSocket(listening_.get(), &error);
    if (fd.is_open()) {
      if (!MakeRoom()) {
        NoteCrowd(PeerAddress(fd.get()).ToString());
        continue;
      }
      auto half_open = std::make_unique<HalfOpen>(this, std::move(fd));  // Counts from now on.
      serving_.push_back(scheduler_->Spawn(Serve(std::move(half_open))));
      continue;
    }
    if (error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS) {
      // It would be readable again at once: look away till somebody may have closed something.
      LOG_EVERY_N(WARNING, 100) << "cannot accept a connection: " << strerror(error);
      scheduler_->UnwatchFd(listening_.get());
      reopening_ = scheduler_->Spawn(WatchDoorLater());
      return;
    }
    if (error == EAGAIN || error == EWOULDBLOCK) return;
    // Everything else is the fate of that one connection (accept(2)): look for the next.
  }
}

Task<void> BootstrapServer::WatchDoorLater() {
  co_await scheduler_->SleepFor(kNoDescriptorsPauseNs);
  WatchDoor();
}

bool BootstrapServer::MakeRoom() {
  if (half_open_.size() < options_.half_open_max) return true;
  auto oldest = std::find_if(half_open_.begin(), half_open_.end(),
                             [](const HalfOpen* half_open) { return !half_open->is_proven; });
  if (oldest == half_open_.end()) {
    // Those who know the secret do not crowd each other out. Where there is none, a hello proves nothing, and
    // half connections must not shut the door.
    if (options_.secret != nullptr) return false;
    oldest = half_open_.begin();
  }
  NoteCrowd((*oldest)->peer.ToString());
  (*oldest)->Evict();
  return true;
}

void BootstrapServer::NoteCrowd(absl::string_view peer) {
  if (options_.refusals == nullptr) return;
  options_.refusals->Note(
      RefusalReason::kCrowd, peer,
      absl::ResourceExhaustedError(absl::StrCat("closed unheard, ", options_.half_open_max,
                                                " connections are at the door already")),
      scheduler_->NowNs());
}

void BootstrapServer::OnFabric(const OfferedFabric& fabric) {
  // The fd stays readable while there are more: a crowd at the door must not keep this thread from
  // what else it does.
  for (int i = 0; i < kAcceptsPerPass; ++i) {
    std::unique_ptr<ConnectionRequest> request = fabric.listener->Poll();
    if (request == nullptr) return;
    const absl::StatusOr<BootstrapToken> token = ParseToken(request->private_data());
    // The request goes, and with it the connection.
    if (!token.ok()) {
      Note(RefusalReason::kNonsense, fabric, request->peer(), token.status());
      continue;
    }
    const auto it = std::find_if(half_open_.begin(), half_open_.end(), [&](const HalfOpen* known) {
      return known->has_token && AreEqualSecrets(known->token, *token);
    });
    if (it == half_open_.end()) {
      Note(RefusalReason::kToken, fabric, request->peer(),
           absl::PermissionDeniedError("the token that it shows is nobody's, or its time is over"));
      continue;
    }
    HalfOpen* const half_open = *it;
    half_open->request = std::move(request);
    half_open->fabric = fabric.name;
    half_open->Forget();
    half_open->arrived.Set();
  }
}

Task<void> BootstrapServer::Serve(std::unique_ptr<HalfOpen> half_open) {
  std::string purpose(kPurposeBytes, '\0');
  absl::Status status =
      co_await half_open->stream.Read(purpose.data(), purpose.size(), half_open->deadline_ns);
  if (!status.ok()) co_return;
  half_open->transcript.purpose = purpose;
  if (purpose == kBootstrapPurpose) {
    co_await ServeBootstrap(half_open.get());
  } else if (purpose == kProvenPurpose) {
    co_await ServeProven(half_open.get());
  } else if (options_.secret != nullptr) {
    co_await ServeUnproven(half_open.get(), std::move(purpose));
  } else {
    half_open->Forget();
    delegate_->OnOtherPurpose(purpose, half_open->stream.Release());
  }
}

Task<void> BootstrapServer::ServeBootstrap(HalfOpen* half_open) {
  absl::Status status = co_await Greet(half_open);
  if (!status.ok()) {
    co_await SendAway(half_open, std::move(status));
    co_return;
  }
  (void)co_await WithDeadline(*scheduler_, half_open->deadline_ns, WaitFor(&half_open->arrived));
  if (half_open->request == nullptr) co_return;
  delegate_->OnPeer({std::move(half_open->request), half_open->fabric, half_open->stream.Release(),
                     half_open->process_id, half_open->is_control, half_open->deadline_ns});
}

// The secret, then another purpose.
Task<void> BootstrapServer::ServeProven(HalfOpen* half_open) {
  absl::StatusOr<Hello> hello = co_await ReadHello(half_open);
  absl::Status status = hello.status();
  if (status.ok()) status = co_await AskForSecret(half_open, hello->has_secret);
  if (!status.ok()) {
    co_await SendAway(half_open, std::move(status));
    co_return;
  }
  if (options_.secret == nullptr) co_return;  // Nothing was asked for: why does it come this way?
  std::string bytes =
      EncodeConfirm(ServerProof(*options_.secret, half_open->transcript, /*welcome_body=*/""));
  status = co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
  if (!status.ok()) co_return;
  std::string purpose(kPurposeBytes, '\0');
  status = co_await half_open->stream.Read(purpose.data(), purpose.size(), half_open->deadline_ns);
  if (!status.ok()) co_return;
  half_open->Forget();
  delegate_->OnOtherPurpose(purpose, half_open->stream.Release());
}

// Another purpose, where the secret should have come first.
Task<void> BootstrapServer::ServeUnproven(HalfOpen* half_open, std::string purpose) {
  const absl::Status why = NoSecretShown();
  std::string bytes = delegate_->RefusalOf(purpose, why);
  if (bytes.empty()) co_return;
  (void)Refused(*half_open, RefusalReason::kNoSecret, why);
  const absl::Status status =
      co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
  // It may be sending already, since nothing kept it from that.
  if (status.ok())
    co_await half_open->stream.FinishWriting(kUnreadBytesMax, half_open->deadline_ns);
}

Task<void> BootstrapServer::SendAway(HalfOpen* half_open, absl::Status why) {
  if (absl::IsDeadlineExceeded(why)) {
    // Ours is not the client's, which may have time to try again.
    why = absl::UnavailableError(absl::StrCat(
        "the server waited ", options_.handshake_timeout_ns / kNsPerMs,
        " ms for what the client has to say first, or the network is too slow for that"));
  }
  // Whoever does not read it does not want to know.
  std::string bytes = EncodeRefusal(why);
  const absl::Status written =
      co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
  // What it sent and nobody read would make the kernel reset the connection, the refusal with it.
  if (written.ok()) {
    co_await half_open->stream.FinishWriting(kUnreadBytesMax, half_open->deadline_ns);
  }
}

void BootstrapServer::Note(RefusalReason reason, const OfferedFabric& fabric,
                           absl::string_view peer, const absl::Status& why) {
  if (options_.refusals == nullptr) return;
  options_.refusals->Note(reason, absl::StrCat(peer, " on fabric ", fabric.name), why,
                          scheduler_->NowNs());
}

absl::Status BootstrapServer::Refused(const HalfOpen& half_open, RefusalReason reason,
                                      absl::Status why) {
  if (options_.refusals != nullptr) {
    options_.refusals->Note(reason, half_open.peer.ToString(), why, scheduler_->NowNs());
  }
  return why;
}

Task<absl::StatusOr<std::string>> BootstrapServer::ReadBody(HalfOpen* half_open,
                                                            BootstrapMessage expected) {
  MessageHeader header;
  absl::Status status =
      co_await half_open->stream.Read(&header, sizeof(header), half_open->deadline_ns);
  if (!status.ok()) co_return status;
  status = CheckHeader(header, expected);
  if (!status.ok()) co_return Refused(*half_open, RefusalReason::kNonsense, std::move(status));
  std::string body(header.body_bytes, '\0');
  status = co_await half_open->stream.Read(body.data(), body.size(), half_open->deadline_ns);
  if (!status.ok()) co_return status;
  co_return body;
}

Task<absl::StatusOr<Hello>> BootstrapServer::ReadHello(HalfOpen* half_open) {
  absl::StatusOr<std::string> body = co_await ReadBody(half_open, BootstrapMessage::kHello);
  if (!body.ok()) co_return body.status();
  absl::StatusOr<Hello> hello = ParseHello(*body);
  half_open->transcript.hello_body = *std::move(body);
  if (hello.ok()) co_return hello;
  const bool of_another_version = absl::IsFailedPrecondition(hello.status());
  co_return Refused(*half_open,
                    of_another_version ? RefusalReason::kVersion : RefusalReason::kNonsense,
                    hello.status());
}

// Has the client prove the secret, where there is one. What it takes to prove it in turn is in the
// transcript afterwards.
Task<absl::Status> BootstrapServer::AskForSecret(HalfOpen* half_open, bool has_secret) {
  if (options_.secret == nullptr) {
    if (!has_secret) co_return absl::OkStatus();
    co_return Refused(
        *half_open, RefusalReason::kNoneToProve,
        absl::FailedPreconditionError(
            "the server has no secret, and the client wants it proved: start kv_server "
            "with --secret_file, or connect without one"));
  }
  if (!has_secret) co_return Refused(*half_open, RefusalReason::kNoSecret, NoSecretShown());
  SecretTranscript& transcript = half_open->transcript;
  options_.fill_random(absl::MakeSpan(transcript.server_nonce));
  std::string bytes = EncodeChallenge(transcript.server_nonce);
  absl::Status status = co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::string> body = co_await ReadBody(half_open, BootstrapMessage::kProof);
  if (!body.ok()) co_return body.status();
  const absl::StatusOr<ClientAnswer> answer = ParseProof(*body);
  if (!answer.ok()) co_return Refused(*half_open, RefusalReason::kNonsense, answer.status());
  transcript.client_nonce = answer->nonce;
  if (AreEqual(answer->proof, ClientProof(*options_.secret, transcript))) {
    half_open->is_proven = true;
    co_return absl::OkStatus();
  }
  co_return Refused(
      *half_open, RefusalReason::kSecret,
      absl::PermissionDeniedError(
          "the client's secret is not the server's: give both the same --secret_file"));
}

Task<absl::Status> BootstrapServer::Greet(HalfOpen* half_open) {
  absl::StatusOr<Hello> hello = co_await ReadHello(half_open);
  if (!hello.ok()) co_return hello.status();
  absl::Status status = co_await AskForSecret(half_open, hello->has_secret);
  if (!status.ok()) co_return status;
  status = Judge(*half_open, *hello);
  if (!status.ok()) co_return status;
  absl::StatusOr<uint32_t> process_id = ProcessIdFor(*hello);
  if (!process_id.ok()) co_return process_id.status();

  half_open->process_id = *process_id;
  half_open->is_control = hello->is_control;
  options_.fill_random(absl::MakeSpan(half_open->token));
  half_open->is_proven = true;
  half_open->has_token = true;  // Before the client can know it.
  Welcome welcome;
  welcome.generation = options_.generation;
  welcome.lease_ns = options_.lease_ns;
  welcome.process_id = *process_id;
  welcome.place = options_.place;
  welcome.token = half_open->token;
  for (const OfferedFabric& fabric : fabrics_) {
    if (!hello->fabric.empty() && hello->fabric != fabric.name) continue;
    welcome.fabrics.push_back(
        {fabric.name, fabric.listener->EndpointFor(half_open->stream.LocalHost())});
  }
  std::string bytes = EncodeWelcome(welcome);
  if (options_.secret != nullptr) {
    const std::string body = bytes.substr(sizeof(MessageHeader));
    bytes.insert(0, EncodeConfirm(ServerProof(*options_.secret, half_open->transcript, body)));
  }
  co_return co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
}

// Of who has proved the secret: whether it can be served.
absl::Status BootstrapServer::Judge(const HalfOpen& half_open, const Hello& hello) {
  if (hello.layout_version != options_.layout_version) {
    return Refused(half_open, RefusalReason::kVersion,
                   absl::FailedPreconditionError(
                       absl::StrCat("the server's memory has layout ", options_.layout_version,
                                    ", the client reads layout ", hello.layout_version,
                                    ": use client and server of one release")));
  }
  if (hello.view != 0 && hello.view != options_.place.view) {
    if (SharedWord* const count = options_.views_refused; count != nullptr) {
      // Relaxed: a statistic, and nobody else stores it.
      count->Store(count->Load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    return OtherView(options_.place.view, hello.view);
  }
  const auto wanted = [&hello](const OfferedFabric& fabric) { return fabric.name == hello.fabric; };
  if (!hello.fabric.empty() && std::none_of(fabrics_.begin(), fabrics_.end(), wanted)) {
    const auto name = [](std::string* out, const OfferedFabric& fabric) { *out += fabric.name; };
    return absl::FailedPreconditionError(
        absl::StrCat("the server has no fabric \"", hello.fabric,
                     "\", it has: ", absl::StrJoin(fabrics_, ", ", name)));
  }
  return delegate_->MayEnter(hello);
}

absl::StatusOr<uint32_t> BootstrapServer::ProcessIdFor(const Hello& hello) {
  // Ids of an earlier incarnation of this server may have been given to somebody else by now.
  const bool ours = hello.process_id >> kServerNumberShift == options_.place.server_number;
  const bool stale = ours && hello.process_id_generation != options_.generation;
  if (hello.process_id != 0 && !stale) return hello.process_id;
  if (process_ids_given_ == kIdsOfServerMax) {
    return absl::ResourceExhaustedError(
        "the server has given away all its process ids: restart it when it suits");
  }
  return options_.place.server_number << kServerNumberShift | ++process_ids_given_;
}

}  // namespace acre::transport
