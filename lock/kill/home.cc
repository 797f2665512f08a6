#include "lock/kill/home.h"

#include <signal.h>
#include <sys/epoll.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "glog/logging.h"

namespace acre::lock_kill {
namespace {

constexpr uint64_t kLookNs = 50'000;
constexpr uint32_t kHomeId = 1;
constexpr uint64_t kHeaderWords = transport::kRegionHeaderBytes / kWordBytes;

Message Of(MessageKind kind, uint32_t process_id, uint64_t word, uint64_t other = 0) {
  Message message;
  message.kind = kind;
  message.process_id = process_id;
  message.word = word;
  message.other = other;
  return message;
}

transport::RemoteKey Grant(transport::QueuePair* to, const transport::MemoryRegion& region,
                           uint32_t rights) {
  const auto key = to->Grant(region, rights);
  // It has died: nobody will use it.
  if (!key.ok()) return {};
  return *key;
}

}  // namespace

// ---- Making it.

Home::Home(const HomeOptions& options)
    : options_(options),
      scheduler_({.clock = &clock_, .seed = options.seed, .name = "home"}),
      locks_link_(options.fabric == "shm" ? &shm_ : &other_) {
  shm_.Open(&clock_, &scheduler_, "shm:");
  if (locks_link_ == &other_) other_.Open(&clock_, &scheduler_, options.fabric + ":");
  Listen(&shm_, &shm_listener_);
  if (locks_link_ == &other_) Listen(&other_, &other_listener_);
  board_ =
      MakeRegion(shm_.fabric.get(), kBoardRegion, sizeof(Board), transport::kRightsAll, "board");
  locks_ = MakeRegion(locks_link_->fabric.get(), kLockRegion, size_t{kLocks} * kLockStride,
                      transport::kRightsAll, "locks");
  arena_region_ = MakeRegion(shm_.fabric.get(), kArenaRegion, kArenaDescriptors * kLineBytes,
                             transport::kRightsAll, "lock arena");
  arena_ = std::make_unique<LocalArena>(absl::MakeSpan(
      arena_region_->words() + kHeaderWords, kArenaDescriptors * kLineBytes / kWordBytes));
  landing_ = MakeRegion(locks_link_->fabric.get(), kLandingRegion, kLineBytes, 0, "landing");
  ConnectToItself();
  MakeRepair();
}

Home::~Home() {
  // Of those who are left after a finding.
  for (const auto& [id, member] : members_) {
    if (!member->ended.is_set()) member->process.Signal(SIGKILL);
  }
  for (const auto& [id, member] : members_) {
    scheduler_.UnwatchFd(member->process.control().fd());
    scheduler_.UnwatchFd(member->process.end_fd());
    for (const auto& [link, queue_pair] : member->queue_pairs) link->port->Forget(queue_pair.get());
  }
  if (accepted_ != nullptr) locks_link_->port->Forget(accepted_.get());
  keeper_.reset();
  local_repair_.reset();
  members_.clear();
  accepted_.reset();
  if (shm_listener_ != nullptr) scheduler_.UnwatchFd(shm_listener_->fd());
  if (other_listener_ != nullptr) scheduler_.UnwatchFd(other_listener_->fd());
  shm_listener_.reset();
  other_listener_.reset();
  other_.Close();
  shm_.Close();
}

std::unique_ptr<transport::MemoryRegion> Home::MakeRegion(transport::Fabric* fabric, uint32_t id,
                                                          size_t bytes, uint32_t rights,
                                                          absl::string_view name) {
  transport::RegionOptions options;
  options.region_id = id;
  options.size_bytes = transport::kRegionHeaderBytes + bytes;
  options.peer_rights = rights;
  options.name = std::string(name);
  auto made = fabric->CreateRegion(options);
  CHECK(made.ok()) << made.status();
  return *std::move(made);
}

void Home::Listen(Link* link, std::unique_ptr<transport::Listener>* listener) {
  auto made = link->fabric->Listen();
  CHECK(made.ok()) << made.status();
  *listener = *std::move(made);
  transport::Listener* const listens = listener->get();
  const absl::Status watched = scheduler_.WatchFd(
      listens->fd(), EPOLLIN, [this, link, listens](uint32_t) { OnConnect(link, listens); });
  CHECK(watched.ok()) << watched;
}

void Home::ConnectToItself() {
  const auto& listener = locks_link_ == &shm_ ? shm_listener_ : other_listener_;
  locks_link_->Connect(listener->endpoint(), kHomeId);
  while (accepted_ == nullptr ||
         locks_link_->home->state() == transport::QueuePairState::kConnecting) {
    scheduler_.RunOnce();
  }
}

void Home::MakeRepair() {
  RemoteRepair::Options options;
  options.port = locks_link_->port.get();
  options.loopback = locks_link_->home.get();
  options.keys = {{kLockRegion, Grant(accepted_.get(), *locks_, transport::kRightsAll)}};
  options.landing = landing_->words() + kHeaderWords;
  options.landing_region = landing_.get();
  options.regions = {{kLockRegion, locks_->words()}};
  options.survivors = this;
  options.data = this;
  remote_repair_ = std::make_unique<RemoteRepair>(options);
  local_repair_ =
      std::make_unique<LocalRepair>(&scheduler_, arena_.get(), options.regions, options.data);
  keeper_ = std::make_unique<LockKeeper>(LockKeeper::Options{.scheduler = &scheduler_,
                                                             .fence = this,
                                                             .local = local_repair_.get(),
                                                             .remote = remote_repair_.get()});
}

// ---- What lies here.

const LockWords& Home::lock(uint32_t number) const {
  return *reinterpret_cast<const LockWords*>(locks_->words() +
                                             LockAddress(number).offset_bytes() / kWordBytes);
}
const SharedWord* Home::guarded(uint32_t number) const {
  return locks_->words() + GuardedOffset(number) / kWordBytes;
}
uint64_t Home::repaired_count() const {
  return remote_repair_->repaired_count() + local_repair_->adopted_count();
}
void Home::Stamp(uint64_t* at_ns) {
  if (*at_ns == 0) *at_ns = clock_.NowNs();
}
void Home::Find(absl::string_view what) {
  if (finding_.empty()) finding_ = std::string(what);
}

// ---- Children come.

Member* Home::FindMember(uint32_t id) {
  const auto found = members_.find(id);
  return found == members_.end() ? nullptr : found->second.get();
}
Member* Home::At(uint32_t place) {
  for (const auto& [id, member] : members_) {
    if (member->place == place && !member->is_fenced && !member->ended.is_set()) {
      return member.get();
    }
  }
  return nullptr;
}

Task<void> Home::Start(uint32_t place, bool is_local) {
  const uint32_t id = ++last_id_;
  auto& entry = members_[id];
  entry = std::make_unique<Member>(&scheduler_, options_.program);
  Member* const member = entry.get();
  member->id = id;
  member->place = place;
  member->is_local = is_local;
  // Nobody else uses the place any more.
  ZeroShared(reinterpret_cast<SharedWord*>(&board()->places[place]),
             sizeof(BoardPlace) / kWordBytes);
  if (!is_local) {
    member->intents = MakeRegion(locks_link_->fabric.get(), kIntentRegion + id,
                                 LockIntentsBytes(kDescriptors) - transport::kRegionHeaderBytes,
                                 transport::kRightWrite, "lock intents");
    remote_repair_->AddProcess(id, member->intents->words(), kDescriptors);
  }
  absl::Status watched = scheduler_.WatchFd(member->process.control().fd(), EPOLLIN,
                                            [this, member](uint32_t) { OnControl(member); });
  CHECK(watched.ok()) << watched;
  watched = scheduler_.WatchFd(member->process.end_fd(), EPOLLIN,
                               [this, member](uint32_t) { OnEnd(member); });
  CHECK(watched.ok()) << watched;
  Message setup = Of(MessageKind::kSetup, id, options_.seed * 1'000'003 + id, is_local ? 1 : 0);
  setup.place = place;
  std::string endpoints = shm_listener_->endpoint();
  if (locks_link_ == &other_) absl::StrAppend(&endpoints, " ", other_listener_->endpoint());
  setup.SetText(endpoints);
  Tell(member, setup);
  const size_t connections = locks_link_ == &other_ ? 2 : 1;
  while (!member->ended.is_set() && !member->is_fenced &&
         (member->queue_pairs.size() < connections || (!is_local && member->endpoint.empty()))) {
    co_await scheduler_.SleepFor(kLookNs);
  }
}

void Home::OnConnect(Link* link, transport::Listener* listener) {
  while (const auto request = listener->Poll()) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(request->private_data(), &id)) continue;
    Member* const member = FindMember(id);
    if (id != kHomeId && (member == nullptr || member->is_fenced)) continue;
    auto accepted = request->Accept(link->queue.get(), "");
    if (!accepted.ok()) continue;  // It has died.
    if (id == kHomeId) {
      accepted_ = *std::move(accepted);
      continue;
    }
    transport::QueuePair* const queue_pair = accepted->get();
    member->queue_pairs.emplace_back(link, *std::move(accepted));
    OnJoined(link, member, queue_pair);
  }
}

void Home::OnJoined(Link* link, Member* member, transport::QueuePair* queue_pair) {
  if (link == &shm_) {
    const auto key = Grant(queue_pair, *board_, transport::kRightsAll);
    Tell(member, Of(MessageKind::kBoardKey, 0, key.bits));
  }
  if (link != locks_link_) return;
  const auto locks = Grant(queue_pair, *locks_, transport::kRightsAll);
  const auto other = member->is_local ? Grant(queue_pair, *arena_region_, transport::kRightsAll)
                                      : Grant(queue_pair, *member->intents, transport::kRightWrite);
  Tell(member, Of(MessageKind::kLockKeys, 0, locks.bits, other.bits));
}

// Everybody hears of it before it works: it knows no key of the locks yet, or those who hear of it later than of its
// word in a queue wait for this.
void Home::OnReady(Member* member) {
  Message newcomer = Of(MessageKind::kPeer, member->id, 0);
  newcomer.SetText(member->endpoint);
  TellOthers(newcomer, member->id);
  for (const auto& [id, other] : members_) {
    if (id == member->id || other->is_local || other->is_fenced || other->endpoint.empty()) {
      continue;
    }
    Message message = Of(MessageKind::kPeer, id, 0);
    message.SetText(other->endpoint);
    Tell(member, message);
  }
}

void Home::OnControl(Member* member) {
  Message message;
  while (member->process.control().Receive(&message)) {
    switch (message.kind) {
      case MessageKind::kReady:
        member->endpoint = message.text();
        OnReady(member);
        break;
      case MessageKind::kKeyFor:
        if (Member* const to = FindMember(message.process_id)) {
          Tell(to, Of(MessageKind::kPeerKey, member->id, message.word));
        }
        break;
      case MessageKind::kAnswer:
        if (const auto asked = questions_.find(message.sequence); asked != questions_.end()) {
          asked->second = {.is_answered = true, .answer = message.word};
        }
        break;
      case MessageKind::kLost:
        member->has_noticed = true;
        if (!member->is_fenced && !member->is_told_to_stop) {
          Find(absl::StrCat("process ", member->id, " finds itself given up: ", message.text()));
        }
        break;
      default:
        Find(message.text());
    }
  }
}

void Home::Tell(Member* member, const Message& message) {
  (void)member->process.control().Send(message);  // Unless it is dead, which the kernel tells us.
}

// Remote ones.
void Home::TellOthers(const Message& message, uint32_t but) {
  for (const auto& [id, member] : members_) {
    if (id != but && !member->is_local && !member->is_fenced) Tell(member.get(), message);
  }
}

// ---- And go.

void Home::OnEnd(Member* member) {
  Stamp(&stamps_.ended_ns);
  scheduler_.UnwatchFd(member->process.end_fd());
  OnControl(member);  // Its last words.
  scheduler_.UnwatchFd(member->process.control().fd());
  member->process.Reap();
  member->ended.Set();
  if (member->is_told_to_stop && member->process.EndedWell()) return;
  if (!member->process.WasKilled()) {
    Find(absl::StrCat("process ", member->id, " ended with ", member->process.EndText()));
  }
  keeper_->OnDeath(member->id);
}

void Home::GiveUp(Member* member) { keeper_->OnDeath(member->id); }

void Home::StopAll() {
  for (const auto& [id, member] : members_) {
    member->is_told_to_stop = true;
    Tell(member.get(), Of(MessageKind::kStop, 0, 0));
  }
}

Task<void> Home::Close(uint32_t process_id) {
  Member* const member = FindMember(process_id);
  CHECK(member != nullptr);
  if (options_.fence_kills && !member->ended.is_set()) {
    member->process.Signal(SIGKILL);
    co_await member->ended.Wait();
  }
  for (const auto& [link, queue_pair] : member->queue_pairs) link->port->Forget(queue_pair.get());
  member->queue_pairs.clear();
  Stamp(&stamps_.fenced_ns);
  if (!std::exchange(member->is_fenced, true)) ++fenced_count_;
  Message message = Of(MessageKind::kDead, process_id, 0);
  message.SetDead({&process_id, 1});
  TellOthers(message, process_id);
}

void Home::ForgetDead() {
  std::erase_if(members_, [this](const auto& entry) {
    Member* const member = entry.second.get();
    if (!member->ended.is_set() || !(member->is_fenced || member->is_told_to_stop)) return false;
    if (!remote_repair_->IsForgettable(member->id)) return false;
    // Local ones, too: the keeper names all the dead to it.
    remote_repair_->RemoveProcess(member->id);
    for (const auto& [link, queue_pair] : member->queue_pairs) {
      link->port->Forget(queue_pair.get());
    }
    return true;
  });
}

}  // namespace acre::lock_kill
