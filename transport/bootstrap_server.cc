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
#include "transport/socket.h"

namespace acre::transport {
namespace {

constexpr int kAcceptsPerPass = 64;
constexpr uint64_t kNoDescriptorsPauseNs = 100'000'000;

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

}  // namespace

// One connection between accept and its end or its hand-over. Its task owns it.
class BootstrapServer::HalfOpen {
 public:
  HalfOpen(BootstrapServer* server, ScopedFd fd)
      : stream(server->scheduler_, std::move(fd)),
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

  Stream stream;
  const uint64_t deadline_ns;
  bool has_token = false;  // The Welcome is on its way.
  BootstrapToken token{};
  uint32_t process_id = 0;
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
  CHECK(options_.server_number >= 1 && options_.server_number <= 255);
  CHECK_GE(options_.half_open_max, 1u);
  WatchDoor();
  for (const OfferedFabric& fabric : fabrics_) {
    const absl::Status watched = scheduler_->WatchFd(
        fabric.listener->fd(), EPOLLIN, [this, &fabric](uint32_t) { OnFabric(fabric); });
    CHECK(watched.ok()) << watched;
  }
}

BootstrapServer::~BootstrapServer() {
  scheduler_->UnwatchFd(listening_.get());
  for (const OfferedFabric& fabric : fabrics_) scheduler_->UnwatchFd(fabric.listener->fd());
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
      MakeRoom();
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

void BootstrapServer::MakeRoom() {
  while (half_open_.size() >= options_.half_open_max) half_open_.front()->Evict();
}

void BootstrapServer::OnFabric(const OfferedFabric& fabric) {
  // The fd stays readable while there are more: a crowd at the door must not keep this thread from
  // what else it does.
  for (int i = 0; i < kAcceptsPerPass; ++i) {
    std::unique_ptr<ConnectionRequest> request = fabric.listener->Poll();
    if (request == nullptr) return;
    const absl::StatusOr<BootstrapToken> token = ParseToken(request->private_data());
    if (!token.ok()) continue;  // The request goes, and with it the connection.
    const auto it = std::find_if(half_open_.begin(), half_open_.end(), [&](const HalfOpen* known) {
      return known->has_token && known->token == *token;
    });
    if (it == half_open_.end()) continue;
    HalfOpen* const half_open = *it;
    half_open->request = std::move(request);
    half_open->fabric = fabric.name;
    half_open->Forget();
    half_open->arrived.Set();
  }
}

Task<void> BootstrapServer::Serve(std::unique_ptr<HalfOpen> half_open) {
  char purpose[kPurposeBytes];
  absl::Status status =
      co_await half_open->stream.Read(purpose, sizeof(purpose), half_open->deadline_ns);
  if (!status.ok()) co_return;
  const absl::string_view purpose_text(purpose, sizeof(purpose));
  if (purpose_text != kBootstrapPurpose) {
    half_open->Forget();
    delegate_->OnOtherPurpose(purpose_text, half_open->stream.Release());
    co_return;
  }
  status = co_await Greet(half_open.get());
  if (!status.ok()) {
    // Whoever does not read it does not want to know.
    std::string bytes = EncodeRefusal(status);
    (void)co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
    co_return;
  }
  (void)co_await WithDeadline(*scheduler_, half_open->deadline_ns, WaitFor(&half_open->arrived));
  if (half_open->request == nullptr) co_return;
  delegate_->OnPeer({std::move(half_open->request), half_open->fabric, half_open->stream.Release(),
                     half_open->process_id, half_open->deadline_ns});
}

Task<absl::StatusOr<Hello>> BootstrapServer::ReadHello(HalfOpen* half_open) {
  MessageHeader header;
  absl::Status status =
      co_await half_open->stream.Read(&header, sizeof(header), half_open->deadline_ns);
  if (!status.ok()) co_return status;
  status = CheckHeader(header, BootstrapMessage::kHello);
  if (!status.ok()) co_return status;
  std::string body(header.body_bytes, '\0');
  status = co_await half_open->stream.Read(body.data(), body.size(), half_open->deadline_ns);
  if (!status.ok()) co_return status;
  co_return ParseHello(body);
}

Task<absl::Status> BootstrapServer::Greet(HalfOpen* half_open) {
  absl::StatusOr<Hello> hello = co_await ReadHello(half_open);
  if (!hello.ok()) co_return hello.status();
  absl::Status status = Judge(*hello);
  if (!status.ok()) co_return status;
  absl::StatusOr<uint32_t> process_id = ProcessIdFor(*hello);
  if (!process_id.ok()) co_return process_id.status();

  half_open->process_id = *process_id;
  options_.fill_random(absl::MakeSpan(half_open->token));
  half_open->has_token = true;  // Before the client can know it.
  Welcome welcome;
  welcome.generation = options_.generation;
  welcome.lease_ns = options_.lease_ns;
  welcome.process_id = *process_id;
  welcome.token = half_open->token;
  for (const OfferedFabric& fabric : fabrics_) {
    if (!hello->fabric.empty() && hello->fabric != fabric.name) continue;
    welcome.fabrics.push_back({fabric.name, fabric.listener->endpoint()});
  }
  std::string bytes = EncodeWelcome(welcome);
  co_return co_await half_open->stream.Write(std::move(bytes), half_open->deadline_ns);
}

absl::Status BootstrapServer::Judge(const Hello& hello) {
  if (hello.protocol_version != kBootstrapVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the server speaks version ", kBootstrapVersion, " of the handshake, the client ",
        hello.protocol_version, ": use client and server of one release"));
  }
  if (hello.layout_version != options_.layout_version) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the server's memory has layout ", options_.layout_version, ", the client reads layout ",
        hello.layout_version, ": use client and server of one release"));
  }
  const auto wanted = [&hello](const OfferedFabric& fabric) { return fabric.name == hello.fabric; };
  if (!hello.fabric.empty() && std::none_of(fabrics_.begin(), fabrics_.end(), wanted)) {
    const auto name = [](std::string* out, const OfferedFabric& fabric) { *out += fabric.name; };
    return absl::FailedPreconditionError(
        absl::StrCat("the server has no fabric \"", hello.fabric,
                     "\", it has: ", absl::StrJoin(fabrics_, ", ", name)));
  }
  return delegate_->MayEnter();
}

absl::StatusOr<uint32_t> BootstrapServer::ProcessIdFor(const Hello& hello) {
  // Ids of an earlier incarnation of this server may have been given to somebody else by now.
  const bool ours = hello.process_id >> kServerNumberShift == options_.server_number;
  const bool stale = ours && hello.process_id_generation != options_.generation;
  if (hello.process_id != 0 && !stale) return hello.process_id;
  if (process_ids_given_ == kIdsOfServerMax) {
    return absl::ResourceExhaustedError(
        "the server has given away all its process ids: restart it when it suits");
  }
  return options_.server_number << kServerNumberShift | ++process_ids_given_;
}

}  // namespace acre::transport
