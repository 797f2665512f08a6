#include "server/doctor/pair_host.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::doctor {

absl::StatusOr<std::unique_ptr<PairHost>> PairHost::Start(PairHostOptions options) {
  auto host = absl::WrapUnique(new PairHost(std::move(options)));
  if (absl::Status opened = host->Open(); !opened.ok()) return opened;
  host->scheduler_.DetachFromThread();
  host->thread_ = std::thread([raw = host.get()] { raw->scheduler_.Run(); });
  return host;
}

PairHost::PairHost(PairHostOptions options)
    : options_(std::move(options)), scheduler_({.clock = options_.clock, .name = "pair host"}) {
  scheduler_.AddPoller(this);
}

absl::Status PairHost::Open() {
  const auto addresses = transport::Resolve(options_.listen);
  if (!addresses.ok()) return addresses.status();
  const transport::SocketAddress& address = addresses->front();
  if (!address.is_loopback() && options_.secret == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("other machines reach ", options_.listen.ToString(),
                     ", so peers must prove a secret: give both sides --secret_file=FILE, made by "
                     "(umask 077; openssl rand -base64 32 > FILE)"));
  }
  auto socket = transport::BindSocket(address);
  if (!socket.ok()) return socket.status();
  address_ = transport::LocalAddress(socket->get()).ToString();
  const auto numeric = transport::ParseHostPort(address_);
  if (!numeric.ok()) return numeric.status();

  transport::ProviderOptions provider;
  provider.clock = options_.clock;
  provider.listen_host = numeric->host;
  provider.device = options_.device;
  // A card loops back as well: whoever tries a pair on one machine wants to see that.
  auto doors =
      PairDoors::Open(&scheduler_, options_.fabrics, provider, /*is_loopback=*/false, options_.say);
  if (!doors.ok()) return doors.status();
  doors_ = *std::move(doors);
  auto offered = doors_->networks()->Listen();
  if (!offered.ok()) return offered.status();
  if (absl::Status listening = transport::StartListening(socket->get()); !listening.ok()) {
    return listening;
  }
  transport::BootstrapServerOptions bootstrap;
  bootstrap.layout_version = kDoctorLayout;
  bootstrap.generation = scheduler_.random().Next() | 1;
  bootstrap.lease_ns = 1'000'000'000;  // Of no region: the handshake wants one.
  bootstrap.secret = options_.secret;
  bootstrap.fill_random = options_.fill_random;
  bootstrap_ = std::make_unique<transport::BootstrapServer>(
      &scheduler_, std::move(bootstrap), *std::move(offered), *std::move(socket), this);
  return absl::OkStatus();
}

PairHost::~PairHost() {
  if (thread_.joinable()) {
    scheduler_.Stop();
    thread_.join();
    scheduler_.DetachFromThread();  // This thread takes over.
  }
  bootstrap_.reset();
  for (SpawnHandle& task : welcoming_) task.Cancel();
  links_.clear();
  if (doors_ != nullptr) doors_->networks()->StopListening();
  doors_.reset();
  scheduler_.RemovePoller(this);
}

absl::Status PairHost::MayEnter() {
  if (links_.size() + welcoming_.size() < kPeersMax) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(kPeersMax, " peers are checking already"));
}

void PairHost::OnPeer(transport::ArrivingPeer peer) {
  welcoming_.push_back(scheduler_.Spawn(Welcome(std::move(peer))));
}

// Closes it: there is only one purpose here.
void PairHost::OnOtherPurpose(absl::string_view /*purpose*/, ScopedFd /*stream*/) {}

Task<void> PairHost::Welcome(transport::ArrivingPeer peer) {
  PairDoors::Door* const door = doors_->Find(peer.fabric);
  CHECK(door != nullptr) << "nobody comes on a fabric that was not offered: " << peer.fabric;
  transport::AcceptOptions options;
  options.fabric = door->fabric;
  options.port = door->port.get();
  options.channel = doors_->ChannelOptionsOf();
  absl::StatusOr<transport::Link> link =
      co_await transport::AcceptPeer(std::move(peer), std::move(options));
  if (!link.ok()) {
    options_.say(absl::StrCat("a peer failed in the handshake on ", door->name, ": ",
                              link.status().message()));
    co_return;
  }
  auto made = PairLink::Create(doors_->ContextOf(*door), *std::move(link));
  if (!made.ok()) {
    options_.say(
        absl::StrCat("no memory for a peer on ", door->name, ": ", made.status().message()));
    co_return;
  }
  links_.push_back(*std::move(made));
}

bool PairHost::Poll() {
  const size_t before = links_.size() + welcoming_.size();
  links_.remove_if([](const std::unique_ptr<PairLink>& link) { return link->IsBroken(); });
  welcoming_.remove_if([](const SpawnHandle& task) { return task.done(); });
  return links_.size() + welcoming_.size() != before;
}

}  // namespace acre::doctor
