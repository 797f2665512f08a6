#include "transport/bootstrap_peer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "runtime/wait_queue.h"
#include "transport/bootstrap_proof.h"
#include "transport/bootstrap_stream.h"
#include "transport/resolver.h"
#include "transport/stream.h"

namespace acre::transport {
namespace {

// Hands a queue pair's completions to `event` while it connects; takes itself away in the end.
class ConnectWatch : public CompletionSink {
 public:
  ConnectWatch(Port* port, QueuePair* queue_pair)
      : port_(port), queue_pair_(queue_pair), decided_(port->scheduler()) {
    port_->SetSink(queue_pair_, this);
    if (queue_pair_->state() != QueuePairState::kConnecting) decided_.Set();
  }
  ~ConnectWatch() override { port_->SetSink(queue_pair_, nullptr); }

  void OnCompletion(const Completion&) override { decided_.Set(); }
  Task<void> Wait() { co_await decided_.Wait(); }

 private:
  Port* const port_;
  QueuePair* const queue_pair_;
  Event decided_;
};

// Reads the Welcome, behind the proofs if there is a secret. Its body.
Task<absl::StatusOr<std::string>> ReadWelcome(Stream* stream, const ConnectOptions* options,
                                              std::string hello_body) {
  const bool has_secret = options->credentials.secret != nullptr;
  absl::StatusOr<ServersAnswer> answer = absl::UnknownError("no secret");
  if (has_secret) {
    std::string purpose(kBootstrapPurpose);
    answer = co_await ProveSecret(stream, std::move(purpose), std::move(hello_body),
                                  options->credentials, options->deadline_ns);
    if (!answer.ok()) co_return answer.status();
  }
  absl::StatusOr<std::string> body =
      co_await ReadMessage(stream, BootstrapMessage::kWelcome, options->deadline_ns);
  if (!body.ok() || !has_secret) co_return body;
  const absl::Status status = CheckServer(options->credentials, *answer, *body);
  if (!status.ok()) co_return status;
  co_return body;
}

// Greets the server and gets its Welcome.
Task<absl::StatusOr<Welcome>> Greet(Stream* stream, const ConnectOptions* options) {
  Hello hello;
  hello.layout_version = options->layout_version;
  hello.process_id = options->process_id;
  hello.process_id_generation = options->process_id_generation;
  hello.view = options->view;
  hello.is_control = options->is_control;
  const bool is_choice = options->fabrics.size() > 1 || options->more_fabrics;
  if (!is_choice) hello.fabric = options->fabrics[0].fabric->device().provider;
  hello.has_secret = options->credentials.secret != nullptr;
  const std::string message = EncodeHello(hello);
  std::string hello_body = message.substr(sizeof(MessageHeader));
  std::string bytes = absl::StrCat(kBootstrapPurpose, message);
  absl::Status status = co_await stream->Write(std::move(bytes), options->deadline_ns);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::string> body = co_await ReadWelcome(stream, options, std::move(hello_body));
  if (!body.ok()) co_return body.status();
  absl::StatusOr<Welcome> welcome = ParseWelcome(*body);
  if (!welcome.ok()) co_return NotAServer(welcome.status());
  if (!hello.fabric.empty() &&
      (welcome->fabrics.empty() || welcome->fabrics.front().name != hello.fabric)) {
    co_return absl::DataLossError("the server did not offer the fabric that was asked for");
  }
  co_return welcome;
}

// Connects on one fabric, token in hand.
Task<absl::StatusOr<Link>> OpenLinkOn(ConnectOptions::LocalFabric local, std::string endpoint,
                                      std::string token, uint64_t deadline_ns) {
  absl::StatusOr<std::unique_ptr<QueuePair>> queue_pair =
      local.fabric->Connect(endpoint, local.port->completion_queue(), token);
  if (!queue_pair.ok()) co_return queue_pair.status();
  Link link(local.port, *std::move(queue_pair));
  ConnectWatch watch(local.port, link.queue_pair());
  absl::Status status = co_await WithDeadline(*local.port->scheduler(), deadline_ns, watch.Wait());
  if (!status.ok()) co_return status;
  if (link.queue_pair()->state() != QueuePairState::kReady) co_return link.queue_pair()->status();
  co_return link;
}

// How long a fabric may stay silent before the next one is tried.
constexpr uint64_t kSilentFabricNsMax = 1'000'000'000;

using LocalFabrics = std::vector<ConnectOptions::LocalFabric>;
// Those that turned out to have no memory for a channel.
using UselessFabrics = std::vector<const Fabric*>;

bool Contains(const UselessFabrics& useless, const Fabric* fabric) {
  return std::find(useless.begin(), useless.end(), fabric) != useless.end();
}

// Connects on the first of `candidates` that reaches the server; *local: which one that was. FailedPrecondition: the
// server has none of them.
Task<absl::StatusOr<Link>> OpenLinkOnFirst(const LocalFabrics* candidates,
                                           const UselessFabrics* useless, const Welcome* welcome,
                                           uint64_t deadline_ns,
                                           ConnectOptions::LocalFabric* local) {
  absl::Status first_failure;
  for (const ConnectOptions::LocalFabric& candidate : *candidates) {
    if (Contains(*useless, candidate.fabric)) continue;
    // A network that swallows packets must leave time for the next one: rdma_cm alone tries for a minute.
    uint64_t until_ns = deadline_ns;
    const bool is_last = &candidate == &candidates->back();
    const uint64_t now_ns = candidate.port->scheduler()->NowNs();
    if (!is_last && now_ns < deadline_ns) {
      until_ns = now_ns + std::min(kSilentFabricNsMax, (deadline_ns - now_ns) / 2);
    }
    const std::string& name = candidate.fabric->device().provider;
    for (const FabricEndpoint& offered : welcome->fabrics) {
      if (offered.name != name) continue;
      absl::StatusOr<Link> link =
          co_await OpenLinkOn(candidate, offered.endpoint, EncodeToken(welcome->token), until_ns);
      *local = candidate;
      // Shared memory does not reach other machines, nor containers; a card not every network. Where the server
      // has seen the token and then could not go on, the next one fails too, and the caller tries anew.
      const bool is_unreached = absl::IsUnavailable(link.status()) ||
                                (absl::IsDeadlineExceeded(link.status()) && !is_last);
      if (link.ok() || !is_unreached) co_return link;
      if (first_failure.ok()) first_failure = link.status();
    }
  }
  if (!first_failure.ok()) co_return first_failure;
  co_return absl::FailedPreconditionError("the server offers none of the fabrics that may be used");
}

// The same with the options' further fabrics, if it takes them.
Task<absl::StatusOr<Link>> OpenLink(const ConnectOptions* options, const UselessFabrics* useless,
                                    const Welcome* welcome, ConnectOptions::LocalFabric* local) {
  absl::StatusOr<Link> link =
      co_await OpenLinkOnFirst(&options->fabrics, useless, welcome, options->deadline_ns, local);
  const bool may_go_on =
      absl::IsUnavailable(link.status()) || absl::IsFailedPrecondition(link.status());
  if (!may_go_on || !options->more_fabrics) co_return link;
  absl::StatusOr<LocalFabrics> more = options->more_fabrics();
  if (!more.ok()) co_return more.status();
  absl::StatusOr<Link> other =
      co_await OpenLinkOnFirst(&*more, useless, welcome, options->deadline_ns, local);
  // Where the favourites were offered and failed, that is what the caller is told.
  const bool says_less = absl::IsFailedPrecondition(other.status());
  if (says_less) co_return link;
  co_return other;
}

// One attempt. *refused: the fabric that has no memory for a channel, if that was why it failed.
Task<absl::StatusOr<ConnectedPeer>> TryConnect(const ConnectOptions* options,
                                               const UselessFabrics* useless,
                                               const Fabric** refused) {
  absl::StatusOr<std::unique_ptr<Stream>> stream =
      co_await OpenStream(options->fabrics.at(0).port->scheduler(), options->resolver,
                          options->server, options->deadline_ns);
  if (!stream.ok()) co_return stream.status();
  absl::StatusOr<Welcome> welcome = co_await Greet(stream->get(), options);
  if (!welcome.ok()) co_return welcome.status();

  ConnectedPeer peer;
  peer.generation = welcome->generation;
  peer.lease_ns = welcome->lease_ns;
  peer.process_id = welcome->process_id;
  peer.local_host = (*stream)->LocalHost();
  peer.place = welcome->place;
  absl::StatusOr<Link> link = co_await OpenLink(options, useless, &*welcome, &peer.local);
  if (!link.ok()) co_return link.status();
  peer.link = *std::move(link);
  auto channel = Channel::Create(peer.local.fabric, peer.link.queue_pair(), options->channel);
  if (!channel.ok()) {
    if (absl::IsResourceExhausted(channel.status())) *refused = peer.local.fabric;
    co_return channel.status();
  }
  peer.link.set_channel(*std::move(channel));

  std::string bytes = EncodeOffer(peer.link.channel()->offer());
  absl::Status status = co_await (*stream)->Write(std::move(bytes), options->deadline_ns);
  if (!status.ok()) co_return status;
  absl::StatusOr<std::string> body =
      co_await ReadMessage(stream->get(), BootstrapMessage::kSetup, options->deadline_ns);
  if (!body.ok()) co_return body.status();
  absl::StatusOr<Setup> setup = ParseSetup(*body);
  if (!setup.ok()) co_return NotAServer(setup.status());
  status = peer.link.channel()->Attach(setup->offer);
  if (!status.ok()) co_return NotAServer(status);
  peer.facts = setup->facts;
  peer.regions = std::move(setup->regions);
  co_return peer;
}

}  // namespace

Link& Link::operator=(Link&& other) noexcept {
  if (this == &other) return *this;
  Close();
  port_ = other.port_;
  queue_pair_ = std::move(other.queue_pair_);
  channel_ = std::move(other.channel_);
  return *this;
}

void Link::Close() {
  channel_.reset();
  if (queue_pair_ == nullptr) return;
  port_->Forget(queue_pair_.get());
  queue_pair_.reset();
}

void Link::BreakQueuePair() {
  if (queue_pair_ == nullptr) return;
  // A broken channel leaves the queue pair alone.
  if (channel_ != nullptr) channel_->Break(absl::UnavailableError("the connection was given up"));
  port_->Forget(queue_pair_.get());
  queue_pair_.reset();
}

Task<absl::StatusOr<Link>> AcceptPeer(ArrivingPeer peer, AcceptOptions options) {
  Stream stream(options.port->scheduler(), std::move(peer.stream));
  auto queue_pair =
      peer.request->Accept(options.port->completion_queue(), /*private_data=*/absl::string_view());
  if (!queue_pair.ok()) co_return queue_pair.status();
  Link link(options.port, *std::move(queue_pair));
  auto channel = Channel::Create(options.fabric, link.queue_pair(), options.channel);
  if (!channel.ok()) co_return channel.status();
  link.set_channel(*std::move(channel));

  Setup setup;
  setup.offer = link.channel()->offer();
  setup.facts = options.facts;
  const uint32_t rights = options.rights_for ? options.rights_for(*link.queue_pair()) : kRightRead;
  for (const MemoryRegion* region : options.regions) {
    if (rights == 0) break;
    const auto key = link.queue_pair()->Grant(*region, rights);
    if (options.rights_for && absl::IsInvalidArgument(key.status())) {
      setup.regions.clear();
      break;
    }
    if (!key.ok()) co_return key.status();
    setup.regions.push_back({region->region_id(), *key, region->size_bytes()});
  }

  absl::StatusOr<std::string> body =
      co_await ReadMessage(&stream, BootstrapMessage::kOffer, peer.deadline_ns);
  if (!body.ok()) co_return body.status();
  absl::StatusOr<ChannelOffer> offer = ParseOffer(*body);
  if (!offer.ok()) co_return offer.status();
  absl::Status status = link.channel()->Attach(*offer);
  if (!status.ok()) co_return status;
  // The client may use the channel as soon as it has read this: it is attached here by now.
  std::string bytes = EncodeSetup(setup);
  status = co_await stream.Write(std::move(bytes), peer.deadline_ns);
  if (!status.ok()) co_return status;
  co_return link;
}

Task<absl::StatusOr<ConnectedPeer>> ConnectPeer(ConnectOptions options) {
  UselessFabrics useless;
  absl::Status first_refusal;
  for (;;) {
    const Fabric* refused = nullptr;
    absl::StatusOr<ConnectedPeer> peer = co_await TryConnect(&options, &useless, &refused);
    const bool is_choice = options.fabrics.size() > 1 || options.more_fabrics;
    if (refused == nullptr || !is_choice) {
      // With the others gone, what held up the favourite is what the caller is told.
      const bool says_less = absl::IsFailedPrecondition(peer.status());
      if (says_less && !first_refusal.ok()) co_return first_refusal;
      co_return peer;
    }
    // Most often a card's: memory that may be locked is little for those who are not root. The token is used up,
    // so the server is greeted anew.
    LOG(WARNING) << "goes without fabric " << refused->device().provider << ": "
                 << peer.status().message();
    if (first_refusal.ok()) first_refusal = peer.status();
    useless.push_back(refused);
  }
}

}  // namespace acre::transport
