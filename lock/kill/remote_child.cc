#include "lock/kill/remote_child.h"

#include <signal.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"
#include "lock/lock_intent.h"

namespace acre::lock_kill {
namespace {

using transport::CompletionStatus;
using transport::Opcode;
using transport::QueuePairState;
using transport::WorkRequest;

constexpr uint64_t kLookNs = 50'000;
constexpr uint32_t kBudget = 2;
constexpr uint32_t kDescriptorRegion = 2;
constexpr uint32_t kLockerRegion = 3;
constexpr uint32_t kBufferRegion = 10;  // And up.

}  // namespace

RemoteChild::RemoteChild(const Message& setup, Control* control, Clock* clock)
    : Child(setup, control, clock) {
  // Where the board is, and where the locks are if that is another fabric.
  const std::vector<std::string> endpoints = absl::StrSplit(setup.text(), ' ');
  link_.Open(clock, &scheduler_, endpoints.front());
  link_.Connect(endpoints.front(), setup.process_id);
  if (endpoints.size() > 1) {
    lock_link_.Open(clock, &scheduler_, endpoints.back());
    lock_link_.Connect(endpoints.back(), setup.process_id);
  }
  auto descriptors = RemoteDescriptors::Create(locks().fabric.get(), kDescriptorRegion,
                                               setup.process_id, kDescriptors);
  CHECK(descriptors.ok()) << descriptors.status();
  descriptors_ = *std::move(descriptors);
  for (uint32_t task = 0; task < kTasks; ++task) {
    transport::RegionOptions options;
    options.region_id = kBufferRegion + task;
    options.size_bytes = transport::kRegionHeaderBytes + kBufferWords * kWordBytes;
    auto region = locks().fabric->CreateRegion(options);
    CHECK(region.ok()) << region.status();
    buffers_[task].region = *std::move(region);
    buffers_[task].words =
        buffers_[task].region->words() + transport::kRegionHeaderBytes / kWordBytes;
  }
  service_ = std::make_unique<ChildService>(setup.process_id, locks().fabric.get(),
                                            descriptors_.get(), control, clock);
  service_->Start(
      [this](const Message& message) { scheduler_.Post([this, message] { OnMessage(message); }); });
}

RemoteChild::~RemoteChild() {
  service_->Join();
  for (const auto& [id, other] : others_) {
    if (other.queue_pair != nullptr) locks().port->Forget(other.queue_pair.get());
  }
  if (locks().home != nullptr) locks().port->Forget(locks().home.get());
  locker_.reset();
  others_.clear();
  service_.reset();
  lock_link_.Close();
  link_.Close();
}

void RemoteChild::OnMessage(const Message& message) {
  switch (message.kind) {
    case MessageKind::kBoardKey:
      board_key_ = message.word;
      break;
    case MessageKind::kLockKeys:
      lock_keys_ = message;
      break;
    case MessageKind::kPeer: {
      auto connecting = locks().fabric->Connect(message.text(), locks().queue.get(),
                                                absl::StrCat(setup_.process_id));
      // One that has died meanwhile stays one that is not connected.
      Other& other = others_[message.process_id];
      if (connecting.ok()) other.queue_pair = *std::move(connecting);
      break;
    }
    case MessageKind::kPeerKey:
      others_[message.process_id].key = message.word;
      break;
    case MessageKind::kStop:
      stops_ = true;
      break;
    default:
      for (const uint32_t dead : message.dead_ids()) {
        Other& other = others_[dead];
        if (other.queue_pair != nullptr) locks().port->Forget(other.queue_pair.get());
        other.queue_pair.reset();
        other.key = 0;
      }
  }
}

Task<absl::StatusOr<LockPeers::Peer>> RemoteChild::Find(uint32_t process_id) {
  // Whose word stands in a queue is known to the home, which tells everybody who comes and who dies.
  while (locks().home->state() != QueuePairState::kBroken) {
    const auto found = others_.find(process_id);
    if (found != others_.end()) {
      const Other& other = found->second;
      const bool is_gone =
          other.queue_pair == nullptr || other.queue_pair->state() == QueuePairState::kBroken;
      if (is_gone) co_return absl::UnavailableError("it is gone");
      if (other.key.has_value() && other.queue_pair->state() == QueuePairState::kReady) {
        co_return Peer{.queue_pair = other.queue_pair.get(), .descriptors = {*other.key}};
      }
    }
    co_await scheduler_.SleepFor(kLookNs);
  }
  co_return absl::UnavailableError("the home is gone");
}

void RemoteChild::MakeLocker() {
  home_.queue_pair = locks().home.get();
  home_.regions = {{kLockRegion, {lock_keys_->word}}};
  home_.intents = transport::RemoteKey{lock_keys_->other};
  RemoteLocker::Options options;
  options.fabric = locks().fabric.get();
  options.region_id = kLockerRegion;
  options.cohort.port = locks().port.get();
  options.cohort.home = &home_;
  options.cohort.peers = this;
  options.cohort.descriptors = descriptors_.get();
  options.cohort.budget = kBudget;
  auto locker = RemoteLocker::Create(options);
  CHECK(locker.ok()) << locker.status();
  locker_ = *std::move(locker);
}

Task<void> RemoteChild::Join() {
  co_await MapBoard();
  while (!lock_keys_.has_value() || locks().home->state() == QueuePairState::kConnecting) {
    co_await scheduler_.SleepFor(kLookNs);
  }
  MakeLocker();
}

Task<void> RemoteChild::WorkAndDrain() {
  co_await WorkAll(locker_.get());
  co_await locker_->Drain();
  // Somebody else may still be told something by us; and one that was given up waits for its end.
  while (!stops_) co_await scheduler_.SleepFor(kLookNs);
}

void RemoteChild::Run() {
  scheduler_.RunUntilDone(Join());
  scheduler_.RunUntilDone(WorkAndDrain());
}

WorkRequest RemoteChild::Write(const Buffer& buffer, SharedWord* from, uint32_t words,
                               uint64_t offset_bytes) const {
  WorkRequest request;
  request.opcode = Opcode::kWrite;
  request.local = from;
  request.local_region = buffer.region.get();
  request.length_bytes = words * static_cast<uint32_t>(kWordBytes);
  request.remote_key = {lock_keys_->word};
  request.remote_offset_bytes = offset_bytes;
  return request;
}

Task<absl::Status> RemoteChild::Execute(WorkRequest request) {
  const CompletionStatus status = co_await locks().port->Execute(locks().home.get(), {&request, 1});
  if (status == CompletionStatus::kOk) co_return absl::OkStatus();
  co_return absl::UnavailableError(transport::CompletionStatusName(status));
}

// Each request posted alone, so that it may die between any two of them.
Task<void> RemoteChild::DieWhileReleasing(absl::Span<const WorkRequest> batch) {
  const auto order = static_cast<Order>(place().order.Load(std::memory_order_acquire));
  if (order < Order::kDieAnnounced) co_return;
  (void)co_await Execute(batch[0]);
  if (order != Order::kDieAnnounced) {
    WorkRequest record = batch[1];
    if (order == Order::kDieMidRecord) record.length_bytes /= 2;
    (void)co_await Execute(record);
  }
  if (order == Order::kDieUnreleased) (void)co_await Execute(batch[2]);
  DieIf(order);
}

Task<absl::Status> RemoteChild::Update(uint32_t lock, uint32_t task, HeldLock held) {
  LookAtConfirmed(lock);
  const Buffer& buffer = buffers_[task];
  WorkRequest read = Write(buffer, buffer.guarded(), kGuardedWords, GuardedOffset(lock));
  read.opcode = Opcode::kRead;
  absl::Status status = co_await Execute(read);
  if (!status.ok()) co_return status;
  uint64_t found[kGuardedWords];
  CopyFromShared(found, buffer.guarded(), kGuardedWords, CopyOrder::kAscending);
  if (status = JudgeFound(lock, found); !status.ok()) co_return status;

  const uint64_t inside_offset = GuardedOffset(lock) + kInsideWord * kWordBytes;
  buffer.inside()->Store(setup_.process_id, std::memory_order_relaxed);
  status = co_await Execute(Write(buffer, buffer.inside(), 1, inside_offset));
  if (!status.ok()) co_return status;
  const RemoteWord word = locker_->WordOf(held);
  co_await OnInside(lock, word.bits());
  WorkRequest look = Write(buffer, buffer.inside(), 1, inside_offset);
  look.opcode = Opcode::kRead;
  status = co_await Execute(look);
  if (!status.ok()) co_return status;
  const uint64_t inside = buffer.inside()->Load(std::memory_order_relaxed);
  if (status = JudgeStillInside(lock, inside); !status.ok()) co_return status;

  OnAnnounce(lock);
  const Redo redo = Redo::Of(word.bits(), found[0] + 1);
  CopyToShared(buffer.redo(), &redo.word, kRedoWords, CopyOrder::kAscending);
  for (uint32_t i = 0; i < kRecordWords; ++i) {
    buffer.guarded()[i].Store(redo.value, std::memory_order_relaxed);
  }
  buffer.inside()->Store(0, std::memory_order_relaxed);
  WorkRequest batch[] = {
      Write(buffer, buffer.redo(), kRedoWords, LockIntentOffset(word) + kRedoOffset),
      Write(buffer, buffer.guarded(), kRecordWords, GuardedOffset(lock)),
      Write(buffer, buffer.inside(), 1, inside_offset)};
  batch[0].remote_key = {lock_keys_->other};
  co_await DieWhileReleasing(batch);
  StopIfTold();
  place().releasing[task].Store(1, std::memory_order_release);
  status = co_await locker_->Release(std::move(held), batch);
  if (status.ok()) OnConfirmed(lock);
  place().releasing[task].Store(0, std::memory_order_release);
  co_return status;
}

}  // namespace acre::lock_kill
