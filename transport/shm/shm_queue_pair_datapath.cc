// Requests and receives of a shm queue pair: everything that runs once per operation.
//
// What orders what (fabric.h's F1 to F9), on x86 and in C++'s terms:
//  - Requests run in program order on one CPU. Copies store with release and load with acquire, so
//    stores stay in order, loads stay in order, and a READ stays before a later WRITE.
//  - A store may still wait in the store buffer while a later load samples memory: F3 wants the
//    barrier between them. CompletionQueue notes stores of all its queue pairs, the next READ pays.
//  - An atomic is a locked instruction, itself a barrier for what came before it.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/region_header.h"
#include "transport/shm/shm_atomics.h"
#include "transport/shm/shm_queue_pair.h"

namespace acre::transport {
namespace {

// A READ's lines are asked for as soon as it is known. Loads alone leave it to the reorder buffer how
// many misses overlap, and it holds those of one or two READs. 512 B at random on 2 MiB pages: one by
// one 315 ns without, 195 ns with it; in batches of 16 180 ns and 94 ns, where 8 ahead was the best of
// 1, 2, 4 and 8. The bare copy takes 76 ns.
constexpr size_t kPrefetchAhead = 8;
constexpr uint32_t kPrefetchBytesMax = 1024;

// A request's local buffer belongs to the request until it completes: private memory to all but us.
uint64_t* Private(SharedWord* words) { return reinterpret_cast<uint64_t*>(words); }

}  // namespace

absl::Status ShmQueuePair::DoPost(absl::Span<const WorkRequest> batch) {
  CHECK(!batch.empty());
  if (state_ == QueuePairState::kConnecting) {
    return absl::FailedPreconditionError("still connecting: wait for kConnected");
  }
  if (batch.size() > send_queue_depth_ - outstanding_) {
    return absl::ResourceExhaustedError("the send queue is full: poll completions first");
  }
  for (size_t i = 0; i < std::min(kPrefetchAhead, batch.size()); ++i) Prefetch(batch[i]);
  outstanding_ += static_cast<uint32_t>(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    if (i + kPrefetchAhead < batch.size()) Prefetch(batch[i + kPrefetchAhead]);
    CheckLocalBuffer(batch[i], context_->device);
    Start(batch[i]);
  }
  EndBatch();
  return absl::OkStatus();
}

// Flattened, like the readers that call it: fewer instructions between the cache misses of two READs.
__attribute__((flatten)) bool ShmQueuePair::DoReadAtOnce(const WorkRequest& request,
                                                         CompletionStatus* status) {
  CHECK(request.opcode == Opcode::kRead);
  // A broken queue pair flushes what is posted; what is stalled comes first.
  if (state_ != QueuePairState::kReady || !stalled_.empty()) [[unlikely]]
    return false;
  Prefetch(request);
  CheckLocalBuffer(request, context_->device);
  *status = ExecuteRead(request);
  if (*status != CompletionStatus::kOk) [[unlikely]] {
    BreakBy(request, *status);
    ReportIfBroken();
  }
  return true;
}

// Always inlined: g++ 12 takes a function that only prefetches for one without effect, and drops its
// calls.
[[gnu::always_inline]] inline void ShmQueuePair::Prefetch(const WorkRequest& request) const {
  if (request.opcode != Opcode::kRead) return;
  const uint64_t index = IndexOfKey(request.remote_key);
  if (index >= imports_.size() || request.length_bytes > kPrefetchBytesMax) return;
  const Import& import = imports_[index];
  if (request.remote_offset_bytes > import.size_bytes) return;
  // An address past the end does no harm: a prefetch never faults.
  const auto* line = reinterpret_cast<const char*>(import.words) + request.remote_offset_bytes;
  for (uint32_t i = 0; i < request.length_bytes; i += kLineBytes) __builtin_prefetch(line + i);
}

inline void ShmQueuePair::Start(const WorkRequest& request) {
  if (state_ == QueuePairState::kBroken) [[unlikely]] {
    return Fail(request, CompletionStatus::kFlushed);
  }
  if (!stalled_.empty()) [[unlikely]]
    return Stall(request);
  if (Execute(request, Private(request.local)) == Outcome::kNoRoom) [[unlikely]]
    Stall(request);
}

void ShmQueuePair::EndBatch() {
  if (must_wake_peer_) {
    must_wake_peer_ = false;
    WakePeerIfArmed();
  }
  ReportIfBroken();
}

void ShmQueuePair::Stall(const WorkRequest& request) {
  if (stalled_.empty()) completion_queue_->AddStalled();
  Stalled stalled;
  stalled.request = request;
  if (request.inline_data) {
    const uint64_t* words = Private(request.local);
    stalled.inline_words.assign(words, words + request.length_bytes / kWordBytes);
  }
  stalled_.push_back(std::move(stalled));
}

void ShmQueuePair::RetryStalled() {
  if (stalled_.empty()) return;
  while (!stalled_.empty() && state_ == QueuePairState::kReady) {
    const Stalled& stalled = stalled_.front();
    const uint64_t* source =
        stalled.request.inline_data ? stalled.inline_words.data() : Private(stalled.request.local);
    if (Execute(stalled.request, source) == Outcome::kNoRoom) break;
    stalled_.pop_front();
    if (stalled_.empty()) completion_queue_->RemoveStalled();
  }
  EndBatch();
}

ShmQueuePair::Outcome ShmQueuePair::Execute(const WorkRequest& request, const uint64_t* source) {
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
  if (status != CompletionStatus::kOk) [[unlikely]] {
    Fail(request, status);
  } else if (request.signaled) {
    Report(request, status);
  } else {
    ++unsignaled_;
  }
  return Outcome::kDone;
}

inline CompletionStatus ShmQueuePair::ExecuteRead(const WorkRequest& request) {
  if (request.length_bytes == 0) return CompletionStatus::kOk;
  Import* import;
  const CompletionStatus status = Resolve(request, request.length_bytes, kRightRead, &import);
  if (status != CompletionStatus::kOk) return status;
  completion_queue_->OrderStoresBeforeLoads();  // F3.
  // The peer's threads, and its other peers, write these words meanwhile: any mix of old and new
  // words.
  CopyFromShared(Private(request.local), import->words + request.remote_offset_bytes / kWordBytes,
                 request.length_bytes / kWordBytes, CopyOrder::kAscending);
  // After the copy: if the owner is there now, it was there when the words were loaded.
  return import->lease.IsLive() ? CompletionStatus::kOk : CompletionStatus::kBadKey;
}

inline CompletionStatus ShmQueuePair::ExecuteWrite(const WorkRequest& request,
                                                   const uint64_t* source) {
  if (request.length_bytes > 0) {
    Import* import;
    const CompletionStatus status = Resolve(request, request.length_bytes, kRightWrite, &import);
    if (status != CompletionStatus::kOk) return status;
    if (!import->lease.IsLive()) return CompletionStatus::kBadKey;
    // The peer's threads load these words meanwhile, and see them land in ascending order
    // (release).
    CopyToShared(import->words + request.remote_offset_bytes / kWordBytes, source,
                 request.length_bytes / kWordBytes, CopyOrder::kAscending);
    completion_queue_->NoteStores();
  }
  if (request.opcode == Opcode::kWriteWithImm) SendImmediate(request);
  return CompletionStatus::kOk;
}

CompletionStatus ShmQueuePair::ExecuteAtomic(const WorkRequest& request) {
  if (peer_.atomic_domain != context_->atomic_domain) return CompletionStatus::kAtomicDomain;
  Import* import;
  const CompletionStatus status = Resolve(request, kWordBytes, kRightAtomic, &import);
  if (status != CompletionStatus::kOk) return status;
  // Before, so that a dead owner's memory stays as it is; after, so that no lock is taken in it.
  if (!import->lease.IsLive()) return CompletionStatus::kBadKey;
  SharedWord* word = import->words + request.remote_offset_bytes / kWordBytes;
  const bool swaps = request.opcode == Opcode::kCompareSwap;
  uint64_t old_value = request.compare;
  if (peer_.atomicity == Atomicity::kHca) {
    auto* header = reinterpret_cast<RegionHeader*>(import->words);
    const bool done =
        swaps ? HcaCompareSwap(&header->provider_word, word, request.compare, request.swap_or_add,
                               &old_value)
              : HcaFetchAdd(&header->provider_word, word, request.swap_or_add, &old_value);
    if (!done) return CompletionStatus::kRetryExceeded;
    completion_queue_->NoteStores();
  } else if (swaps) {
    // seq_cst: a barrier for our WRITEs before it, and in one order with the atomics of all others.
    (void)word->CompareExchange(&old_value, request.swap_or_add, std::memory_order_seq_cst);
  } else {
    old_value = word->FetchAdd(request.swap_or_add, std::memory_order_seq_cst);
  }
  *Private(request.local) = old_value;
  return import->lease.IsLive() ? CompletionStatus::kOk : CompletionStatus::kBadKey;
}

inline CompletionStatus ShmQueuePair::Resolve(const WorkRequest& request, uint32_t length_bytes,
                                              uint32_t right, Import** import) {
  Import* found = FindImport(request.remote_key);
  if (found == nullptr) return CompletionStatus::kBadKey;
  if ((found->rights & right) == 0) return CompletionStatus::kAccess;
  if (!IsInBounds(request.remote_offset_bytes, length_bytes, found->size_bytes)) {
    return CompletionStatus::kBounds;
  }
  *import = found;
  return CompletionStatus::kOk;
}

ShmQueuePair::Import* ShmQueuePair::FindImport(RemoteKey key) {
  const uint64_t index = IndexOfKey(key);
  // The grant was sent before we were told the key, so it lies in our socket if it exists.
  if (index >= imports_.size()) [[unlikely]]
    DrainSocket(2 * kGrantsMax);
  if (index >= imports_.size() || imports_[index].key != key) return nullptr;
  return &imports_[index];
}

inline void ShmQueuePair::Report(const WorkRequest& request, CompletionStatus status) {
  completion_queue_->Push({.kind = CompletionKind::kSend,
                           .status = status,
                           .opcode = request.opcode,
                           .length_bytes = LengthOf(request),
                           .id = request.id,
                           .queue_pair = this},
                          unsignaled_ + 1);
  unsignaled_ = 0;
}

void ShmQueuePair::Fail(const WorkRequest& request, CompletionStatus status) {
  Report(request, status);
  if (status != CompletionStatus::kOk && status != CompletionStatus::kFlushed) {
    BreakBy(request, status);
  }
}

void ShmQueuePair::BreakBy(const WorkRequest& request, CompletionStatus status) {
  Break(absl::UnavailableError(absl::StrCat("request ", request.id,
                                            " failed: ", CompletionStatusName(status),
                                            " at offset ", request.remote_offset_bytes)));
}

bool ShmQueuePair::HasRoomForImmediate() {
  if (sent_ - peer_taken_ < peer_.receive_queue_depth) return true;
  // Stored by the receiver after it took the entries: they may be overwritten (acquire).
  const uint64_t head = peer_ring()->head.Load(std::memory_order_acquire);
  if (head - peer_taken_ > sent_ - peer_taken_) {
    Break(absl::UnavailableError("dropped the peer: its receive ring is corrupt"));
    return false;  // The request is flushed with those behind it.
  }
  peer_taken_ = head;
  return sent_ - peer_taken_ < peer_.receive_queue_depth;
}

void ShmQueuePair::SendImmediate(const WorkRequest& request) {
  ReceiveRing* ring = peer_ring();
  const uint64_t entry = uint64_t{request.length_bytes} << 32 | request.immediate;
  // Nobody reads the entry before the tail says so, and then sees the data as well (release).
  ring->entries[sent_ & (peer_.receive_queue_depth - 1)].Store(entry, std::memory_order_relaxed);
  ring->tail.Store(++sent_, std::memory_order_release);
  completion_queue_->NoteStores();
  must_wake_peer_ = true;
}

size_t ShmQueuePair::TakeReceives(absl::Span<Completion> completions) {
  if (!is_receiving_) return 0;
  // The peer stores it after entry and data (acquire).
  const uint64_t available = own_ring()->tail.Load(std::memory_order_acquire) - received_;
  if (available == 0) [[likely]]
    return 0;
  if (available > own_ring_mask_ + 1) {
    is_receiving_ = false;
    Break(absl::UnavailableError("dropped the peer: the tail of its immediates is corrupt"));
    ReportIfBroken();
    return 0;
  }
  const size_t count = std::min<size_t>(completions.size(), available);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t entry =
        own_ring()->entries[received_++ & own_ring_mask_].Load(std::memory_order_relaxed);
    completions[i] = {.kind = CompletionKind::kReceive,
                      .opcode = Opcode::kWriteWithImm,
                      .immediate = static_cast<uint32_t>(entry),
                      .length_bytes = static_cast<uint32_t>(entry >> 32),
                      .queue_pair = this};
  }
  // A sender stalls at a full ring, so half a ring unreported stalls nobody for good.
  if (received_ - reported_ > own_ring_mask_ / 2) {
    ReportReceived();
    ReportIfBroken();
  }
  return count;
}

void ShmQueuePair::ReportReceived() {
  reported_ = received_;
  // Release: our loads of the entries are done. The sender looks at it when it finds no room.
  own_ring()->head.Store(reported_, std::memory_order_release);
  if (state_ != QueuePairState::kReady) return;
  // The sender may sleep on a stalled request: the head is a message to it.
  completion_queue_->NoteStores();
  WakePeerIfArmed();
}

}  // namespace acre::transport
