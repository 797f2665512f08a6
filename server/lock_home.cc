#include "server/lock_home.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "runtime/wait_queue.h"
#include "server/counter.h"
#include "transport/region_header.h"

namespace acre::server {
namespace {

constexpr uint64_t kWatchNs = 250'000'000;
// How long the end of a participant may take to be known here.
constexpr uint64_t kDeathNoticedNs = 1'000'000'000;
constexpr size_t kHeaderWords = transport::kRegionHeaderBytes / kWordBytes;
constexpr absl::string_view kLoopbackHello = "lock home";

// In constant time.
bool IsTicket(const kvs::LockTicket& a, const kvs::LockTicket& b) {
  uint8_t differs = 0;
  for (size_t i = 0; i < a.size(); ++i) differs = static_cast<uint8_t>(differs | (a[i] ^ b[i]));
  return differs == 0;
}

absl::Status NoParticipant(uint32_t lock_id) {
  return absl::NotFoundError(absl::StrCat("participant ", lock_id, " is none, or no more: join"));
}

}  // namespace

struct LockHome::Participant {
  uint32_t lock_id = 0;
  uint32_t descriptors_count = 0;
  std::string endpoint;
  std::unique_ptr<transport::MemoryRegion> intents;
  // Guarded by mutex_.
  bool is_gone = false;  // Nobody sits down any more.
  bool has_sat = false;
  CloseConnection close;  // Of the connection that sits. Null: none does.
  ProcessHold hold;       // On shm, once it sits.
  // Of the home's thread.
  LockControlConnection* control = nullptr;
  bool is_buried = false;  // Fenced, and known to the repair.
};

// ---- Making it.

absl::StatusOr<std::unique_ptr<LockHome>> LockHome::Create(Options options) {
  auto home = absl::WrapUnique(new LockHome(std::move(options)));
  if (absl::Status status = home->ConnectToItself(); !status.ok()) return status;
  if (absl::Status status = home->MakeRepair(); !status.ok()) return status;
  home->tasks_.push_back(home->scheduler_->Spawn(home->Watch()));
  return home;
}

LockHome::LockHome(Options options) : options_(std::move(options)), scheduler_(options_.scheduler) {
  options_.fill_random(absl::MakeSpan(ticket_));
}

absl::StatusOr<std::unique_ptr<transport::MemoryRegion>> LockHome::MakeRegion(
    uint32_t region_id, size_t bytes, uint32_t peer_rights, absl::string_view name) {
  if (region_id == 0) return absl::ResourceExhaustedError("the server has no region id left");
  transport::RegionOptions region;
  region.region_id = region_id;
  region.size_bytes = bytes;
  region.peer_rights = peer_rights;
  region.name = std::string(name);
  return options_.fabric->CreateRegion(region);
}

absl::Status LockHome::ConnectToItself() {
  auto queue = options_.fabric->CreateCompletionQueue();
  if (!queue.ok()) return queue.status();
  completion_queue_ = *std::move(queue);
  port_ = std::make_unique<transport::Port>(scheduler_, completion_queue_.get());
  auto listener = options_.fabric->Listen();
  if (!listener.ok()) return listener.status();
  auto connecting =
      options_.fabric->Connect((*listener)->endpoint(), completion_queue_.get(), kLoopbackHello);
  if (!connecting.ok()) return connecting.status();
  loopback_ = *std::move(connecting);
  while (accepted_ == nullptr || loopback_->state() == transport::QueuePairState::kConnecting) {
    scheduler_->RunOnce();
    const auto request = (*listener)->Poll();
    if (request == nullptr || request->private_data() != kLoopbackHello) continue;
    auto accepted = request->Accept(completion_queue_.get(), "");
    if (!accepted.ok()) return accepted.status();
    accepted_ = *std::move(accepted);
  }
  return loopback_->status();
}

absl::Status LockHome::MakeRepair() {
  auto landing = MakeRegion(options_.next_region_id(), transport::kRegionHeaderBytes + kLineBytes,
                            /*peer_rights=*/0, "lock repair");
  if (!landing.ok()) return landing.status();
  landing_ = *std::move(landing);
  slots_ = std::make_unique<kvs::SlotRepair>(
      options_.table, [this](uint32_t lock_id) -> kvs::SlotRepair::Intents {
        const Participant* const participant = Find(lock_id);
        if (participant == nullptr) return {};
        return {participant->intents->words(), participant->descriptors_count};
      });
  RemoteRepair::Options repair;
  repair.port = port_.get();
  repair.loopback = loopback_.get();
  repair.landing = landing_->words() + kHeaderWords;
  repair.landing_region = landing_.get();
  repair.survivors = this;
  repair.data = slots_.get();
  for (transport::MemoryRegion* const region : options_.regions) {
    const auto key = accepted_->Grant(*region, transport::kRightsAll);
    if (!key.ok()) return key.status();
    repair.keys.emplace_back(region->region_id(), *key);
    repair.regions.emplace_back(region->region_id(), region->words());
  }
  repair_ = std::make_unique<RemoteRepair>(std::move(repair));
  keeper_ = std::make_unique<LockKeeper>(LockKeeper::Options{
      .scheduler = scheduler_, .fence = this, .local = nullptr, .remote = repair_.get()});
  return absl::OkStatus();
}

void LockHome::Stop() {
  for (SpawnHandle& task : tasks_) task.Cancel();
  keeper_.reset();
  controls_.clear();
  if (loopback_ != nullptr) port_->Forget(loopback_.get());
  if (accepted_ != nullptr) port_->Forget(accepted_.get());
  loopback_.reset();
  accepted_.reset();
}

LockHome::~LockHome() {
  Stop();
  MutexLock lock(&mutex_);
  participants_.clear();
}

// ---- Participants come.

LockHome::Participant* LockHome::Find(uint32_t lock_id) const {
  MutexLock lock(&mutex_);
  const auto found = participants_.find(lock_id);
  return found == participants_.end() ? nullptr : found->second.get();
}

bool LockHome::IsHere(uint32_t lock_id) const {
  MutexLock lock(&mutex_);
  const auto found = participants_.find(lock_id);
  return found != participants_.end() && !found->second->is_gone;
}

void LockHome::AddControl(transport::ArrivingPeer peer) {
  tasks_.remove_if([](const SpawnHandle& task) { return task.done(); });
  tasks_.push_back(scheduler_->Spawn(Welcome(std::move(peer))));
}

Task<void> LockHome::Welcome(transport::ArrivingPeer peer) {
  // Its Hello named the right one; its token may be shown on any.
  if (peer.fabric != options_.fabric->device().provider) co_return;
  transport::AcceptOptions options;
  options.fabric = options_.fabric;
  options.port = port_.get();
  options.channel.region_id = options_.next_region_id();
  options.channel.random_seed = scheduler_->random().Next();
  if (options.channel.region_id == 0) co_return;
  absl::StatusOr<transport::Link> link =
      co_await transport::AcceptPeer(std::move(peer), std::move(options));
  if (!link.ok()) {
    VLOG(1) << "a control connection failed in the handshake: " << link.status();
    co_return;
  }
  auto& control = controls_.emplace_back();
  // The connection tells of its end from within: it goes later.
  control = std::make_unique<LockControlConnection>(
      port_.get(), *std::move(link), options_.view,
      [this](LockControlConnection* connection, const kvs::JoinRequest& request) {
        return Join(connection, request);
      },
      [this, raw = &control] { OnControlGone(raw->get()); });
}

void LockHome::OnControlGone(const LockControlConnection* control) {
  if (Participant* const participant = Find(control->lock_id()); participant != nullptr) {
    participant->control = nullptr;
    keeper_->OnDeath(participant->lock_id);
  }
  scheduler_->Post([this, control] {
    controls_.remove_if([control](const auto& of) { return of.get() == control; });
  });
}

absl::StatusOr<kvs::JoinAnswer> LockHome::Join(LockControlConnection* control,
                                               const kvs::JoinRequest& request) {
  {
    MutexLock lock(&mutex_);
    if (participants_.size() >= kParticipantsMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the server has ", kParticipantsMax,
                       " clients that take locks by themselves, the most that it takes"));
    }
  }
  auto intents =
      MakeRegion(options_.next_region_id(), kvs::LockIntentsRegionBytes(request.descriptors_count),
                 transport::kRightWrite, "lock intents");
  if (!intents.ok()) return intents.status();
  auto participant = std::make_unique<Participant>();
  const uint32_t lock_id = (*intents)->region_id();
  participant->lock_id = lock_id;
  participant->descriptors_count = request.descriptors_count;
  participant->endpoint = std::string(request.endpoint);
  participant->intents = *std::move(intents);
  participant->control = control;
  repair_->AddProcess(lock_id, participant->intents->words(), request.descriptors_count);
  AddToCounter(&joined_);
  MutexLock lock(&mutex_);
  participants_[lock_id] = std::move(participant);
  return kvs::JoinAnswer{lock_id, 0, ticket_};
}

absl::StatusOr<const transport::MemoryRegion*> LockHome::Sit(const kvs::LockKeysRequest& who,
                                                             int pid, CloseConnection close) {
  if (!IsTicket(who.ticket, ticket_)) return absl::PermissionDeniedError("a wrong ticket");
  ProcessHold hold;
  if (options_.fabric->device().can_map) {
    absl::StatusOr<ProcessHold> opened = ProcessHold::Open(pid);
    if (!opened.ok()) return opened.status();
    hold = *std::move(opened);
  }
  MutexLock lock(&mutex_);
  const auto found = participants_.find(who.lock_id);
  if (found == participants_.end() || found->second->is_gone) return NoParticipant(who.lock_id);
  Participant& participant = *found->second;
  if (participant.has_sat) {
    return absl::FailedPreconditionError("another connection sits there already");
  }
  participant.has_sat = true;
  participant.hold = std::move(hold);
  participant.close = std::move(close);
  return participant.intents.get();
}

absl::StatusOr<std::string> LockHome::EndpointOf(uint32_t lock_id) const {
  MutexLock lock(&mutex_);
  const auto found = participants_.find(lock_id);
  if (found == participants_.end() || found->second->is_gone) return NoParticipant(lock_id);
  return found->second->endpoint;
}

LockHome::Counts LockHome::counts() const {
  const auto load = [](const SharedWord& counter) {
    return counter.Load(std::memory_order_relaxed);
  };
  Counts counts{.participants = 0,
                .joined = load(joined_),
                .fenced = load(fenced_),
                .killed = load(killed_),
                .queues_repaired = load(queues_repaired_)};
  MutexLock lock(&mutex_);
  for (const auto& [lock_id, participant] : participants_) {
    if (!participant->is_gone) ++counts.participants;
  }
  return counts;
}

// ---- And go.

void LockHome::Leave(uint32_t lock_id) {
  {
    MutexLock lock(&mutex_);
    const auto found = participants_.find(lock_id);
    if (found == participants_.end()) return;
    found->second->is_gone = true;
    found->second->close = nullptr;
  }
  scheduler_->Post([this, lock_id] { keeper_->OnDeath(lock_id); });
}

void LockHome::OnUnreachable(uint32_t reporter, uint32_t other) {
  scheduler_->Post([this, reporter, other] {
    tasks_.remove_if([](const SpawnHandle& task) { return task.done(); });
    tasks_.push_back(scheduler_->Spawn(OnUnreachableTask(reporter, other)));
  });
}

Task<void> LockHome::OnUnreachableTask(uint32_t reporter, uint32_t other) {
  co_await scheduler_->SleepFor(kDeathNoticedNs);
  if (!IsHere(other) || !IsHere(reporter)) co_return;
  LOG(WARNING)
      << "participant " << reporter << " cannot reach participant " << other
      << ", though both live: the first is given up, since it waits in a queue that nobody "
         "can hand on. Clients that write by themselves must reach each other";
  keeper_->OnDeath(reporter);
}

Task<void> LockHome::KillUnlessGone(Participant* participant) {
  const ProcessHold& hold = participant->hold;
  if (!hold.is_open()) co_return;
  const SharedWord& farewell =
      participant->intents
          ->words()[kvs::LockFarewellOffset(participant->descriptors_count) / kWordBytes];
  // Acquire: with the client's release. All that its requests did is there.
  if (farewell.Load(std::memory_order_acquire) == participant->lock_id) co_return;
  if (!hold.HasEnded()) {
    LOG(WARNING) << "participant " << participant->lock_id << ", process " << hold.pid()
                 << ", writes the server's memory by itself, and is given up: it is killed";
    hold.Kill();
    AddToCounter(&killed_);
  }
  Event ended(scheduler_);
  const absl::Status watched =
      scheduler_->WatchFd(hold.fd(), EPOLLIN, [this, &ended, &hold](uint32_t) {
        scheduler_->UnwatchFd(hold.fd());
        ended.Set();
      });
  CHECK(watched.ok()) << watched;
  const auto unwatch = absl::MakeCleanup([this, &hold] { scheduler_->UnwatchFd(hold.fd()); });
  co_await ended.Wait();
}

Task<void> LockHome::Close(uint32_t lock_id) {
  Participant* const participant = Find(lock_id);
  if (participant == nullptr) co_return;  // It was never one, or is forgotten.
  CloseConnection close;
  {
    MutexLock lock(&mutex_);
    participant->is_gone = true;
    close = std::exchange(participant->close, nullptr);
  }
  co_await KillUnlessGone(participant);
  if (close) {
    // Outlives us, should we be cancelled meanwhile.
    const auto closed = std::make_shared<Event>(scheduler_);
    close([this, closed] { scheduler_->Post([closed] { closed->Set(); }); });
    co_await closed->Wait();
  }
  participant->is_buried = true;
  AddToCounter(&fenced_);
}

// ---- Questions.

Task<absl::StatusOr<bool>> LockHome::Ask(kvs::LockControl question, RemoteWord word,
                                         RemoteWord other, absl::Span<const uint32_t> dead) {
  Participant* const participant = Find(word.process_id());
  if (participant == nullptr || participant->control == nullptr) {
    co_return absl::UnavailableError(absl::StrCat("there is no participant ", word.process_id()));
  }
  Task<absl::StatusOr<bool>> ask = participant->control->Ask(
      question, word, other, std::vector<uint32_t>(dead.begin(), dead.end()));
  absl::StatusOr<bool> answer =
      co_await WithDeadline(*scheduler_, scheduler_->NowNs() + kAnswerNsMax, std::move(ask));
  co_return answer;
}

Task<absl::StatusOr<bool>> LockHome::StandBy(RemoteWord word, absl::Span<const uint32_t> dead) {
  return Ask(kvs::LockControl::kStandBy, word, RemoteWord(), dead);
}
Task<absl::StatusOr<bool>> LockHome::HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) {
  return Ask(kvs::LockControl::kHasGrant, word, RemoteWord(), dead);
}
Task<absl::StatusOr<bool>> LockHome::HasLeft(RemoteWord word) {
  return Ask(kvs::LockControl::kHasLeft, word, RemoteWord(), {});
}
Task<absl::Status> LockHome::SetSuccessor(RemoteWord word, RemoteWord successor) {
  const absl::StatusOr<bool> told =
      co_await Ask(kvs::LockControl::kSetSuccessor, word, successor, {});
  co_return told.status();
}
Task<absl::Status> LockHome::GrantLeadership(RemoteWord word) {
  const absl::StatusOr<bool> told =
      co_await Ask(kvs::LockControl::kGrantLeadership, word, RemoteWord(), {});
  co_return told.status();
}

// ---- Now and then.

Task<void> LockHome::Watch() {
  while (true) {
    co_await scheduler_->SleepFor(kWatchNs);
    queues_repaired_.Store(repair_->repaired_count(), std::memory_order_relaxed);
    if (!keeper_->idle()) continue;
    ForgetDead();
    co_await LookForStandstills();
  }
}

void LockHome::ForgetDead() {
  MutexLock lock(&mutex_);
  for (auto it = participants_.begin(); it != participants_.end();) {
    if (!it->second->is_buried || !repair_->IsForgettable(it->first)) {
      ++it;
      continue;
    }
    repair_->RemoveProcess(it->first);
    keeper_->Forget(it->first);
    it = participants_.erase(it);
  }
}

Task<void> LockHome::LookForStandstills() {
  std::map<uint64_t, Standstill> found;
  const uint64_t now_ns = scheduler_->NowNs();
  for (auto& [lock, queue] : repair_->AwaitedQueues()) {
    const auto before = standstills_.find(lock.bits());
    const bool stood_still = before != standstills_.end() && before->second.queue == queue;
    found[lock.bits()] = {std::move(queue), stood_still ? before->second.since_ns : now_ns};
  }
  standstills_ = std::move(found);
  std::vector<std::pair<GlobalAddress, std::vector<RemoteWord>>> stuck;
  for (const auto& [lock, standstill] : standstills_) {
    if (now_ns - standstill.since_ns < kStandstillNs) continue;
    stuck.emplace_back(GlobalAddress::FromBits(lock), standstill.queue);
  }
  for (auto& [lock, queue] : stuck) co_await JudgeStandstill(lock, std::move(queue));
}

// From the head on: those who have left may still be found there (RemoteRepair), and are not to blame.
Task<void> LockHome::JudgeStandstill(GlobalAddress lock, std::vector<RemoteWord> queue) {
  for (size_t i = queue.size(); i-- > 0;) {
    const uint32_t lock_id = queue[i].process_id();
    if (!IsHere(lock_id)) co_return;  // Its repair is under way.
    const absl::StatusOr<bool> has_left = co_await HasLeft(queue[i]);
    if (has_left.ok() && *has_left) continue;
    LOG(WARNING) << "participant " << lock_id << " holds up the queue of the lock at region "
                 << lock.region_id() << ", offset " << lock.offset_bytes() << " for "
                 << kStandstillNs / 1'000'000 << " ms"
                 << (has_left.ok() ? "" : ", and does not answer") << ": it is given up";
    standstills_.erase(lock.bits());
    keeper_->OnDeath(lock_id);
    co_return;
  }
}

}  // namespace acre::server
