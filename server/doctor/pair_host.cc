#include "server/doctor/pair_host.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/counter.h"

namespace acre::doctor {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;

}  // namespace

absl::StatusOr<std::unique_ptr<PairHost>> PairHost::Start(PairHostOptions options) {
  auto host = absl::WrapUnique(new PairHost(std::move(options)));
  if (absl::Status opened = host->Open(); !opened.ok()) return opened;
  host->scheduler_.DetachFromThread();
  host->thread_ = std::thread([raw = host.get()] { raw->scheduler_.Run(); });
  return host;
}

PairHost::PairHost(PairHostOptions options)
    : options_(std::move(options)),
      scheduler_({.clock = options_.clock, .name = "pair host"}),
      refusals_([this](const std::string& line) { options_.say(line); }) {
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
  bootstrap.refusals = &refusals_;
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
  guests_.clear();
  if (doors_ != nullptr) doors_->networks()->StopListening();
  doors_.reset();
  scheduler_.RemovePoller(this);
}

absl::Status PairHost::MayEnter(const transport::Hello& hello) {
  if (hello.is_control)
    return absl::FailedPreconditionError("kv_doctor takes no control connections");
  return HasRoom() ? absl::OkStatus() : NoRoom();
}

void PairHost::OnPeer(transport::ArrivingPeer peer) {
  // The request goes unanswered, which rejects it: its fabric tells the peer.
  if (!HasRoom()) return (void)NoRoom();
  welcoming_.push_back(scheduler_.Spawn(Welcome(std::move(peer))));
}

absl::Status PairHost::NoRoom() {
  server::AddToCounter(&crowded_out_);
  absl::Status why =
      absl::ResourceExhaustedError(absl::StrCat(kPeersMax, " peers are checking already"));
  if (const uint64_t now_ns = scheduler_.NowNs(); now_ns >= next_crowd_line_ns_) {
    next_crowd_line_ns_ = now_ns + transport::RefusalLog::kLineIntervalNs;
    options_.say(absl::StrCat("a peer is sent away: ", why.message(),
                              "; no more of this kind are told for a minute"));
  }
  return why;
}

// Closes it: there is only one purpose here.
void PairHost::OnOtherPurpose(absl::string_view purpose, ScopedFd stream) {
  refusals_.Note(transport::RefusalReason::kNonsense,
                 transport::PeerAddress(stream.get()).ToString(),
                 absl::InvalidArgumentError(absl::StrCat(
                     "it opens with \"", absl::CHexEscape(purpose), "\", as no kv_doctor does")),
                 scheduler_.NowNs());
}

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
  server::AddToCounter(&guests_came_);
  Guest& guest = guests_.emplace_back(*std::move(made));
  guest.expiry = scheduler_.Spawn(Expire(&guest, door->name));
}

Task<void> PairHost::Expire(Guest* guest, std::string door) {
  co_await scheduler_.SleepFor(options_.link_ns_max);
  guest->is_over = true;  // Poll() takes it out: this task goes with it.
  options_.say(absl::StrCat("a peer on ", door, " has been here for ",
                            options_.link_ns_max / kNsPerMs,
                            " ms, longer than a check lasts: its connection is closed"));
}

bool PairHost::Poll() {
  const size_t before = guests_.size() + welcoming_.size();
  guests_.remove_if([](const Guest& guest) { return guest.is_over || guest.link->IsBroken(); });
  welcoming_.remove_if([](const SpawnHandle& task) { return task.done(); });
  return guests_.size() + welcoming_.size() != before;
}

std::string PairHost::Tally() const {
  std::string tally =
      absl::StrCat("connections checked over: ", guests_came_.Load(std::memory_order_relaxed));
  const auto add = [&tally](absl::string_view name, uint64_t count) {
    if (count > 0) absl::StrAppend(&tally, ", ", name, ": ", count);
  };
  for (size_t i = 0; i < transport::kRefusalReasonsCount; ++i) {
    const auto reason = static_cast<transport::RefusalReason>(i);
    add(absl::StrCat("refused (", transport::RefusalReasonName(reason), ")"),
        refusals_.Count(reason));
  }
  add("sent away for want of room", crowded_out_count());
  return tally;
}

}  // namespace acre::doctor
