#include "server/lock_home.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/deadline.h"
#include "runtime/wait_queue.h"
#include "server/counter.h"
#include "transport/region_header.h"
#include "transport/secret_bytes.h"

namespace acre::server {
namespace {

constexpr uint64_t kConnectNsMax = 5'000'000'000;
constexpr uint64_t kEndLookNs = 100'000;
constexpr size_t kHeaderWords = transport::kRegionHeaderBytes / kWordBytes;

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
  absl::Status status = home->scheduler_->RunUntilDone(home->ConnectToItself());
  if (!status.ok()) return status;
  if (status = home->MakeRepair(); !status.ok()) return status;
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

Task<absl::Status> LockHome::ConnectToItself() {
  if (loopback_ != nullptr) port_->Forget(loopback_.get());
  if (accepted_ != nullptr) port_->Forget(accepted_.get());
  loopback_.reset();
  accepted_.reset();
  if (port_ == nullptr) {
    auto queue = options_.fabric->CreateCompletionQueue();
    if (!queue.ok()) co_return queue.status();
    completion_queue_ = *std::move(queue);
    port_ = std::make_unique<transport::Port>(scheduler_, completion_queue_.get());
  }
  auto listener = options_.fabric->Listen();
  if (!listener.ok()) co_return listener.status();
  // Whoever else comes there does not know it.
  const std::string hello(reinterpret_cast<const char*>(ticket_.data()), ticket_.size());
  auto connecting =
      options_.fabric->Connect((*listener)->endpoint(), completion_queue_.get(), hello);
  if (!connecting.ok()) co_return connecting.status();
  loopback_ = *std::move(connecting);
  const uint64_t deadline_ns = scheduler_->NowNs() + kConnectNsMax;
  while (accepted_ == nullptr || loopback_->state() == transport::QueuePairState::kConnecting) {
    const auto request = (*listener)->Poll();
    if (request != nullptr && accepted_ == nullptr && request->private_data() == hello) {
      auto accepted = request->Accept(completion_queue_.get(), "");
      if (!accepted.ok()) co_return accepted.status();
      accepted_ = *std::move(accepted);
    }
    if (loopback_->state() == transport::QueuePairState::kBroken) co_return loopback_->status();
    if (scheduler_->NowNs() > deadline_ns) {
      co_return absl::DeadlineExceededError("the server does not reach itself through its fabric");
    }
    co_await scheduler_->Yield();
  }
  co_return loopback_->status();
}

absl::StatusOr<LockRegionKeys> LockHome::OwnKeys() {
  LockRegionKeys keys;
  for (transport::MemoryRegion* const region : options_.regions) {
    const auto key = accepted_->Grant(*region, transport::kRightsAll);
    if (!key.ok()) return key.status();
    keys.emplace_back(region->region_id(), *key);
  }
  return keys;
}

Task<absl::Status> LockHome::MendHome() {
  absl::Status status = co_await ConnectToItself();
  if (!status.ok()) co_return status;
  absl::StatusOr<LockRegionKeys> keys = OwnKeys();
  if (!keys.ok()) co_return keys.status();
  repair_->SetLoopback(loopback_.get(), *std::move(keys));
  co_return absl::OkStatus();
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
  absl::StatusOr<LockRegionKeys> keys = OwnKeys();
  if (!keys.ok()) return keys.status();
  repair.keys = *std::move(keys);
  for (transport::MemoryRegion* const region : options_.regions) {
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
  if (controls_.size() + tasks_.size() >= kParticipantsMax) {
    LOG_EVERY_N(WARNING, 1000) << "a control connection is turned away: there are "
                               << controls_.size();
    return;
  }
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
  if (!MayJoin(*link->queue_pair())) co_return;
  auto& control = controls_.emplace_back();
  // The connection tells of its end from within: it goes later.
  control = std::make_unique<LockControlConnection>(
      port_.get(), *std::move(link), options_.view,
      [this](LockControlConnection* connection, const kvs::JoinRequest& request) {
        return Join(connection, request);
      },
      [this, raw = &control] { OnControlGone(raw->get()); });
}

// Who could not be kept from writing on, once it writes, takes no part, and learns nothing of those who do.
bool LockHome::MayJoin(const transport::QueuePair& queue_pair) const {
  if (!options_.fabric->device().can_map) return true;
  const absl::StatusOr<ProcessHold> hold = ProcessHold::Open(queue_pair.peer_pid());
  VLOG_IF(1, !hold.ok()) << "a client may not write by itself: " << hold.status();
  return hold.ok();
}

void LockHome::OnControlGone(const LockControlConnection* control) {
  if (Participant* const participant = Find(control->lock_id()); participant != nullptr) {
    participant->control = nullptr;
    keeper_->OnDeath(participant->lock_id);
  }
  scheduler_->Post([this] { DropGone(); });
}

void LockHome::DropGone() {
  controls_.remove_if([this](const auto& control) {
    if (control->is_broken()) return true;
    if (control->lock_id() == 0) return false;
    const Participant* const participant = Find(control->lock_id());
    return participant == nullptr || participant->control != control.get();
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
                                                             CloseConnection close) {
  if (!transport::AreEqualSecrets(who.ticket, ticket_)) {
    return absl::PermissionDeniedError("a wrong ticket");
  }
  MutexLock lock(&mutex_);
  const auto found = participants_.find(who.lock_id);
  if (found == participants_.end() || found->second->is_gone) return NoParticipant(who.lock_id);
  Participant& participant = *found->second;
  if (participant.has_sat) {
    return absl::FailedPreconditionError("another connection sits there already");
  }
  participant.has_sat = true;
  participant.close = std::move(close);
  return participant.intents.get();
}

absl::Status LockHome::Arm(uint32_t lock_id, int pid) {
  ProcessHold hold;
  if (options_.fabric->device().can_map) {
    absl::StatusOr<ProcessHold> opened = ProcessHold::Open(pid);
    if (!opened.ok()) return opened.status();
    hold = *std::move(opened);
  }
  MutexLock lock(&mutex_);
  const auto found = participants_.find(lock_id);
  if (found == participants_.end() || found->second->is_gone) return NoParticipant(lock_id);
  found->second->hold = std::move(hold);
  return absl::OkStatus();
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
  if (!IsHere(other) || !IsHere(reporter)) co_return;
  // Any question: what matters is whether it answers.
  const absl::StatusOr<bool> answer = co_await HasLeft(RemoteWord(other, 0, 0));
  if (!IsHere(other) || !IsHere(reporter)) co_return;
  if (!answer.ok()) {
    LOG(WARNING) << "participant " << other << " can be reached neither by participant " << reporter
                 << " nor by its home: it is given up";
    keeper_->OnDeath(other);
    co_return;
  }
  LOG(WARNING) << "participant " << reporter << " cannot reach participant " << other
               << ", which answers: the first is given up, since it waits in a queue that nobody "
                  "can hand on. "
                  "Clients that write by themselves must reach each other";
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
  while (!hold.HasEnded()) co_await scheduler_->SleepFor(kEndLookNs);
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
  standstills_.clear();
  // It has nothing more to say.
  participant->control = nullptr;
  scheduler_->Post([this] { DropGone(); });
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
    co_await scheduler_->SleepFor(kLookNs);
    queues_repaired_.Store(repair_->repaired_count(), std::memory_order_relaxed);
    DropIdleControls();
    if (!keeper_->idle()) {
      standstills_.clear();
      continue;
    }
    ForgetDead();
    co_await LookForStandstills();
  }
}

void LockHome::DropIdleControls() {
  const uint64_t now_ns = scheduler_->NowNs();
  controls_.remove_if([now_ns](const auto& control) {
    return control->lock_id() == 0 && now_ns - control->made_ns() > kJoinNsMax;
  });
}

void LockHome::ForgetDead() {
  std::vector<uint32_t> buried;
  {
    MutexLock lock(&mutex_);
    for (const auto& [lock_id, participant] : participants_) {
      if (participant->is_buried) buried.push_back(lock_id);
    }
  }
  for (const uint32_t lock_id : buried) {
    if (!repair_->IsForgettable(lock_id)) continue;
    repair_->RemoveProcess(lock_id);
    keeper_->Forget(lock_id);
    MutexLock lock(&mutex_);
    participants_.erase(lock_id);
  }
}

Task<void> LockHome::LookForStandstills() {
  std::map<uint64_t, Standstill> found;
  // A record that is half-written is awaited by its readers.
  const auto is_awaited = [this](GlobalAddress lock) { return slots_->IsHalfWritten(lock); };
  for (auto& [lock, queue] : repair_->AwaitedQueues(is_awaited)) {
    Standstill& standstill = found[lock.bits()];
    const auto before = standstills_.find(lock.bits());
    if (before != standstills_.end() && before->second.queue == queue) {
      standstill = std::move(before->second);
      ++standstill.looks;
    } else {
      standstill.queue = std::move(queue);
    }
  }
  standstills_ = std::move(found);
  // The highest address first, one verdict at a time: a server's thread that waits there may hold a lower one, and so
  // hold up whoever leads that one's queue.
  for (auto it = standstills_.rbegin(); it != standstills_.rend(); ++it) {
    if (it->second.looks < kStandstillLooks) continue;
    co_await JudgeStandstill(it->first);
    co_return;
  }
}

// From the head on: those who have left may still be found there (RemoteRepair), and are not to blame.
Task<void> LockHome::JudgeStandstill(uint64_t lock) {
  const std::vector<RemoteWord> queue = standstills_[lock].queue;
  size_t left_count = standstills_[lock].left_count;
  for (; left_count < queue.size(); ++left_count) {
    const uint32_t lock_id = queue[queue.size() - 1 - left_count].process_id();
    const Participant* const participant = Find(lock_id);
    if (participant != nullptr && !participant->is_buried) break;
  }
  if (left_count == queue.size()) co_return;
  const RemoteWord word = queue[queue.size() - 1 - left_count];
  if (!IsHere(word.process_id())) co_return;  // Its repair is about to begin.
  const absl::StatusOr<bool> has_left = co_await HasLeft(word);
  const auto standstill = standstills_.find(lock);
  if (standstill == standstills_.end() || standstill->second.queue != queue) co_return;
  if (has_left.ok() && *has_left) {
    // Whoever is next may have got it this moment: his time begins now.
    standstill->second.left_count = left_count + 1;
    standstill->second.looks = 0;
    co_return;
  }
  const GlobalAddress address = GlobalAddress::FromBits(lock);
  LOG(WARNING) << "participant " << word.process_id()
               << " holds up the queue of the lock in region " << address.region_id() << " at "
               << address.offset_bytes() << (has_left.ok() ? "" : ", and does not answer")
               << ": it is given up";
  standstills_.clear();
  keeper_->OnDeath(word.process_id());
}

}  // namespace acre::server
