// Requests that the initiator's own CPU executes, on shared memory.
//
// Every access of memory here is one of the calling thread's: it takes its turn, stores wait in its store
// buffer. The barriers are those of transport/shm/shm_queue_pair_datapath.cc, see there for what orders
// what.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/simulated_memory.h"
#include "transport/provider_rules.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_queue_pair.h"

namespace acre::transport {

void SimQueuePair::Start(const WorkRequest& request) {
  if (state_ == QueuePairState::kBroken) return Fail(request, CompletionStatus::kFlushed);
  if (!stalled_.empty() || Execute(request, nullptr) == Outcome::kNoRoom) Stall(request);
}

void SimQueuePair::EndBatch() {
  if (std::exchange(must_wake_peer_, false)) WakePeerIfArmed();
  ReportIfBroken();
}

void SimQueuePair::Stall(const WorkRequest& request) {
  Stalled stalled;
  stalled.request = request;
  if (request.inline_data) {
    LoadLocal(request);
    stalled.inline_words = words_;
  }
  ++network_->counts().receive_stalls;
  stalled_.push_back(std::move(stalled));
}

void SimQueuePair::RetryStalled() {
  while (!stalled_.empty() && state_ == QueuePairState::kReady) {
    const Stalled& stalled = stalled_.front();
    const std::vector<uint64_t>* const source =
        stalled.request.inline_data ? &stalled.inline_words : nullptr;
    if (Execute(stalled.request, source) == Outcome::kNoRoom) break;
    stalled_.pop_front();
  }
}

void SimQueuePair::ServeSharedMemory() {
  if (state_ == QueuePairState::kReady && !side_->hang_up().empty()) {
    Break(absl::UnavailableError(side_->hang_up()), /*tells_peer=*/false);
  }
  if (!stalled_.empty()) RetryStalled();
  EndBatch();
}

SimQueuePair::Outcome SimQueuePair::Execute(const WorkRequest& request,
                                            const std::vector<uint64_t>* source) {
  CompletionStatus status = CompletionStatus::kOk;
  switch (request.opcode) {
    case Opcode::kRead:
      status = ExecuteRead(request);
      break;
    case Opcode::kWriteWithImm:
      if (!HasRoomForImmediate()) return Outcome::kNoRoom;
      [[fallthrough]];
    case Opcode::kWrite:
      status = ExecuteWrite(request, source);
      break;
    case Opcode::kCompareSwap:
    case Opcode::kFetchAdd:
      status = ExecuteAtomic(request);
      break;
  }
  ++network_->counts().requests;
  if (status != CompletionStatus::kOk) {
    Fail(request, status);
  } else if (request.signaled) {
    side_->Report(request, status);
  } else {
    side_->AddUnsignaled();
  }
  return Outcome::kDone;
}

bool SimQueuePair::DoReadAtOnce(const WorkRequest& request, CompletionStatus* status) {
  CHECK(request.opcode == Opcode::kRead);
  if (context_->kind != SimDevice::kSharedMemory) return false;
  // A broken queue pair flushes what is posted; what is stalled comes first.
  if (state_ != QueuePairState::kReady || !stalled_.empty()) return false;
  CheckLocalBuffer(request, context_->device);
  network_->Spend(kPostRequestNs);
  ++network_->counts().requests;
  *status = ExecuteRead(request);
  if (*status != CompletionStatus::kOk) {
    BreakBy(request, *status);
    ReportIfBroken();
  }
  return true;
}

CompletionStatus SimQueuePair::ExecuteRead(const WorkRequest& request) {
  if (request.length_bytes == 0) return CompletionStatus::kOk;
  Import* import;
  const CompletionStatus status = Resolve(request, request.length_bytes, kRightRead, &import);
  if (status != CompletionStatus::kOk) return status;
  completion_queue_->stores()->OrderBeforeLoads();  // F3.
  words_.resize(request.length_bytes / kWordBytes);
  // The peer's threads, and its other peers, write these words meanwhile: any mix of old and new words.
  CopyFromShared(words_.data(), import->memory->words() + request.remote_offset_bytes / kWordBytes,
                 words_.size(), CopyOrder::kAscending);
  StoreLocal(request.local, words_);
  // After the copy: if the owner is there now, it was there when the words were loaded.
  return import->lease.IsLive() ? CompletionStatus::kOk : CompletionStatus::kBadKey;
}

// Only this thread looks at them before the completion, and then it may load them plainly, which must show
// what it stored: past the store buffer.
void SimQueuePair::StoreLocal(SharedWord* to, absl::Span<const uint64_t> values) {
  if (network_->world()->current_thread() != nullptr) {
    network_->world()->LandStoresTo(to, values.size() * kWordBytes);
    network_->Spend(values.size());
  }
  const OutsideOfSimulatedThread at_once;
  for (size_t i = 0; i < values.size(); ++i) to[i].Store(values[i], std::memory_order_relaxed);
}

CompletionStatus SimQueuePair::ExecuteWrite(const WorkRequest& request,
                                            const std::vector<uint64_t>* source) {
  if (request.length_bytes > 0) {
    Import* import;
    const CompletionStatus status = Resolve(request, request.length_bytes, kRightWrite, &import);
    if (status != CompletionStatus::kOk) return status;
    if (!import->lease.IsLive()) return CompletionStatus::kBadKey;
    if (source == nullptr) {
      LoadLocal(request);
      source = &words_;
    }
    // The peer's threads load these words meanwhile, and see them land in ascending order (release).
    CopyToShared(import->memory->words() + request.remote_offset_bytes / kWordBytes, source->data(),
                 source->size(), CopyOrder::kAscending);
    completion_queue_->stores()->Note();
  }
  if (request.opcode == Opcode::kWriteWithImm) SendImmediate(request);
  return CompletionStatus::kOk;
}

CompletionStatus SimQueuePair::ExecuteAtomic(const WorkRequest& request) {
  if (side_->peer()->context()->atomic_domain != context_->atomic_domain) {
    return CompletionStatus::kAtomicDomain;
  }
  Import* import;
  const CompletionStatus status = Resolve(request, kWordBytes, kRightAtomic, &import);
  if (status != CompletionStatus::kOk) return status;
  if (!import->lease.IsLive()) return CompletionStatus::kBadKey;
  SharedWord* const word = import->memory->words() + request.remote_offset_bytes / kWordBytes;
  // seq_cst: a barrier for our WRITEs before it, and in one order with the atomics of all others.
  uint64_t old_value = request.compare;
  if (request.opcode == Opcode::kFetchAdd) {
    old_value = word->FetchAdd(request.swap_or_add, std::memory_order_seq_cst);
  } else {
    (void)word->CompareExchange(&old_value, request.swap_or_add, std::memory_order_seq_cst);
  }
  StoreLocal(request.local, {&old_value, 1});
  return import->lease.IsLive() ? CompletionStatus::kOk : CompletionStatus::kBadKey;
}

CompletionStatus SimQueuePair::Resolve(const WorkRequest& request, uint32_t length_bytes,
                                       uint32_t right, Import** import) {
  Import* const found = FindImport(request.remote_key);
  if (found == nullptr) return CompletionStatus::kBadKey;
  if ((found->rights & right) == 0) return CompletionStatus::kAccess;
  if (!IsInBounds(request.remote_offset_bytes, length_bytes, found->memory->size_bytes())) {
    return CompletionStatus::kBounds;
  }
  *import = found;
  return CompletionStatus::kOk;
}

void SimQueuePair::Fail(const WorkRequest& request, CompletionStatus status) {
  side_->Report(request, status);
  if (status != CompletionStatus::kFlushed) BreakBy(request, status);
}

void SimQueuePair::BreakBy(const WorkRequest& request, CompletionStatus status) {
  Break(absl::UnavailableError(absl::StrCat("request ", request.id,
                                            " failed: ", CompletionStatusName(status),
                                            " at offset ", request.remote_offset_bytes)),
        /*tells_peer=*/true);
}

bool SimQueuePair::HasRoomForImmediate() {
  SimSide* const peer = side_->peer();
  const uint32_t depth = peer->context()->device.receive_queue_depth;
  if (sent_ - peer_taken_ < depth) return true;
  // Stored by the receiver after it took the entries: they may be overwritten (acquire).
  peer_taken_ = peer->mailbox()->head.Load(std::memory_order_acquire);
  return sent_ - peer_taken_ < depth;
}

void SimQueuePair::SendImmediate(const WorkRequest& request) {
  SimMailbox* const mailbox = side_->peer()->mailbox();
  const uint64_t entry = uint64_t{request.length_bytes} << 32 | request.immediate;
  // Nobody reads the entry before the tail says so, and then sees the data as well (release).
  mailbox->entries[sent_ & (mailbox->entries.size() - 1)].Store(entry, std::memory_order_relaxed);
  mailbox->tail.Store(++sent_, std::memory_order_release);
  completion_queue_->stores()->Note();
  must_wake_peer_ = true;
}

size_t SimQueuePair::TakeReceives(absl::Span<Completion> completions) {
  if (!is_receiving_ || state_ == QueuePairState::kConnecting) return 0;
  SimMailbox* const mailbox = side_->mailbox();
  // The peer stores it after entry and data (acquire).
  const uint64_t available = mailbox->tail.Load(std::memory_order_acquire) - received_;
  const size_t count = std::min<size_t>(completions.size(), available);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t entry = mailbox->entries[received_++ & (mailbox->entries.size() - 1)].Load(
        std::memory_order_relaxed);
    completions[i] = {.kind = CompletionKind::kReceive,
                      .opcode = Opcode::kWriteWithImm,
                      .immediate = static_cast<uint32_t>(entry),
                      .length_bytes = static_cast<uint32_t>(entry >> 32),
                      .queue_pair = this};
  }
  // A sender stalls at a full mailbox, so half of it unreported stalls nobody for good.
  if (received_ - reported_ >= mailbox->entries.size() / 2) ReportReceived();
  return count;
}

void SimQueuePair::ReportReceived() {
  reported_ = received_;
  // Release: our loads of the entries are done. The sender looks at it when it finds no room.
  side_->mailbox()->head.Store(reported_, std::memory_order_release);
  if (state_ != QueuePairState::kReady) return;
  // The sender may sleep on a stalled request: the head is a message to it.
  completion_queue_->stores()->Note();
  WakePeerIfArmed();
}

void SimQueuePair::WakePeerIfArmed() {
  SimSide* const peer = side_->peer();
  if (peer->queue() == nullptr) return;  // It has closed: its hang-up is on its way.
  if (!wake_sender_.MustWake(*peer->wake_page(), completion_queue_->stores())) return;
  ++network_->counts().wakes;
  network_->Spend(kPacketNs);
  network_->After(network_->Vary(kPacketNs), [peer] {
    if (peer->queue() != nullptr) peer->queue()->OnWakePacket();
  });
}

void SimQueuePair::Break(absl::Status why, bool tells_peer) {
  if (state_ == QueuePairState::kBroken) return;
  state_ = QueuePairState::kBroken;
  is_break_unreported_ = true;
  tells_peer_ = tells_peer;
  status_ = std::move(why);
}

void SimQueuePair::ReportIfBroken() {
  if (!std::exchange(is_break_unreported_, false)) return;
  // What the peer wrote before it went is delivered, as a card would have done.
  std::vector<Completion> last(context_->device.receive_queue_depth);
  last.resize(TakeReceives(absl::MakeSpan(last)));
  for (const Completion& completion : last) completion_queue_->Push(completion, 0);
  is_receiving_ = false;
  for (const Stalled& stalled : stalled_)
    side_->Report(stalled.request, CompletionStatus::kFlushed);
  stalled_.clear();
  side_->Break(CompletionStatus::kFlushed, std::string(status_.message()), tells_peer_);
}

}  // namespace acre::transport
