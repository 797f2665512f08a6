#include "transport/tcp/tcp_responder.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/this_thread.h"
#include "transport/provider_rules.h"

namespace acre::transport {
namespace {

// A part is sampled and sent before the next one is: so long READs of many peers take turns.
constexpr uint32_t kReadPartBytesMax = 1 << 16;
// READs whose lines are asked for ahead: the cache misses of a batch overlap.
constexpr size_t kPrefetchAhead = 8;
constexpr uint32_t kPrefetchBytesMax = 1024;

// Of so many emulated atomics of a card one lets other threads run between its halves. A thread that the
// kernel keeps on our core would otherwise hardly ever run there, and tests would not see what A2 warns of.
constexpr uint32_t kHcaAtomicsPerYield = 16;

uint32_t Words(uint32_t bytes) { return bytes / static_cast<uint32_t>(kWordBytes); }

}  // namespace

absl::StatusOr<RemoteKey> TcpResponder::Grant(std::shared_ptr<const TcpExport> region,
                                              uint32_t rights) {
  for (const Made& made : grants_) {
    if (made.region == region && made.rights == rights) return made.key;
  }
  if (grants_.size() == kTcpGrantsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kTcpGrantsMax, " grants to one peer"));
  }
  const RemoteKey key = MakeTcpKey(grants_.size(), rights);
  grants_.push_back({.key = key, .rights = rights, .region = std::move(region)});
  return key;
}

TcpResponder::Outcome TcpResponder::Run(TcpInput* input, TcpOutput* output, bool* received) {
  has_received_ = has_written_ = false;
  *received = false;
  if (output->room_bytes() < kRoomBytesMin) return Outcome::kNoRoom;
  Prefetch(*input);
  Step step = Step::kDone;
  while (step == Step::kDone) {
    if (read_left_bytes_ > 0) {
      step = ContinueRead(output);
    } else if (write_left_bytes_ > 0) {
      step = ContinueWrite(input, output);
    } else {
      step = Start(input, output);
    }
  }
  *received = has_received_;
  if (step != Step::kGarbage) FlushAcks(output);
  switch (step) {
    case Step::kDone:
    case Step::kNoInput:
      return Outcome::kNoInput;
    case Step::kNoRoom:
      return Outcome::kNoRoom;
    case Step::kStalled:
      return Outcome::kStalled;
    case Step::kRefused:
      return Outcome::kRefused;
    case Step::kGarbage:
      break;
  }
  return Outcome::kGarbage;
}

TcpResponder::Step TcpResponder::Start(TcpInput* input, TcpOutput* output) {
  TcpRequestWire wire;
  if (!input->Peek(&wire)) return Step::kNoInput;
  if (const auto why = WhyInvalid(wire)) return Garbage(*why);
  if (output->room_bytes() < kRoomBytesMin) return Step::kNoRoom;
  const Opcode opcode = FromWire(wire.opcode);
  if (IsAtomic(opcode)) return StartAtomic(wire, input, output);
  if (opcode == Opcode::kWriteWithImm && !receives_->HasRoomOrStall()) return Step::kStalled;
  if (wire.length_bytes > 0) {
    const TcpExport* region;
    const CompletionStatus status = Resolve(wire, &region);
    if (status != CompletionStatus::kOk) return Refuse(status, output);
  }
  input->Take(sizeof(wire));
  current_ = wire;
  if (IsWrite(opcode)) {
    write_left_bytes_ = wire.length_bytes;
    if (write_left_bytes_ == 0) FinishWrite();
  } else {
    read_left_bytes_ = wire.length_bytes;
    if (read_left_bytes_ == 0) Ack();
  }
  return Step::kDone;
}

TcpResponder::Step TcpResponder::StartAtomic(const TcpRequestWire& wire, TcpInput* input,
                                             TcpOutput* output) {
  TcpAtomicWire atomic;
  if (!input->Peek(&atomic, sizeof(wire))) return Step::kNoInput;
  if (const auto why = WhyInvalid(wire, atomic)) return Garbage(*why);
  const TcpExport* region;
  const CompletionStatus status = Resolve(wire, &region);
  if (status != CompletionStatus::kOk) return Refuse(status, output);
  input->Take(sizeof(wire) + sizeof(atomic));
  const uint64_t old_value =
      ExecuteAtomic(wire, atomic, region->words + wire.offset_bytes / kWordBytes);
  FlushAcks(output);
  output->AppendWire(TcpResponseWire{
      .payload_bytes = kWordBytes, .acks = 0, .status = TcpStatus::kOk, .reserved0 = 0});
  *output->Append(kWordBytes) = old_value;
  return Step::kDone;
}

uint64_t TcpResponder::ExecuteAtomic(const TcpRequestWire& wire, const TcpAtomicWire& atomic,
                                     SharedWord* word) {
  const bool swaps = wire.opcode == TcpOpcode::kCompareSwap;
  if (options_.atomicity == Atomicity::kHca) {
    // As a card does it: load and store apart, and a COMPARE_SWAP that fails writes back (A2). Nobody
    // else executes atomics of this fabric meanwhile: A1 needs no lock.
    const uint64_t old_value = word->Load(std::memory_order_acquire);
    if (++hca_atomics_ % kHcaAtomicsPerYield == 0) YieldThread();
    const uint64_t swapped = old_value == atomic.compare ? atomic.swap_or_add : old_value;
    word->Store(swaps ? swapped : old_value + atomic.swap_or_add, std::memory_order_release);
    has_unordered_stores_ = true;
    return old_value;
  }
  // seq_cst: a barrier for the WRITEs before it, and in one order with the atomics of all others.
  has_unordered_stores_ = false;
  if (!swaps) return word->FetchAdd(atomic.swap_or_add, std::memory_order_seq_cst);
  uint64_t old_value = atomic.compare;
  (void)word->CompareExchange(&old_value, atomic.swap_or_add, std::memory_order_seq_cst);
  return old_value;
}

TcpResponder::Step TcpResponder::ContinueRead(TcpOutput* output) {
  const size_t room_bytes = output->room_bytes();
  if (room_bytes < kRoomBytesMin) return Step::kNoRoom;
  const TcpExport* region;
  // Anew for every part: the region may have gone since the last one.
  CompletionStatus status = Resolve(current_, &region);
  if (status != CompletionStatus::kOk) return Refuse(status, output);
  const auto part_bytes = static_cast<uint32_t>(
      std::min<size_t>({read_left_bytes_, kReadPartBytesMax,
                        (room_bytes - 2 * sizeof(TcpResponseWire)) / kWordBytes * kWordBytes}));
  FlushAcks(output);
  if (has_unordered_stores_) {
    StoreLoadBarrier();  // F3.
    has_unordered_stores_ = false;
  }
  output->AppendWire(TcpResponseWire{
      .payload_bytes = part_bytes, .acks = 0, .status = TcpStatus::kOk, .reserved0 = 0});
  const uint32_t done_bytes = current_.length_bytes - read_left_bytes_;
  // The owner's threads write these words meanwhile: any mix of old and new words.
  CopyFromShared(output->Append(part_bytes),
                 region->words + (current_.offset_bytes + done_bytes) / kWordBytes,
                 Words(part_bytes), CopyOrder::kAscending);
  // After the copy: if the region is open now, it was open when the words were loaded.
  if (!region->lease.IsLive()) {
    output->TakeBack(sizeof(TcpResponseWire) + part_bytes);
    return Refuse(CompletionStatus::kBadKey, output);
  }
  read_left_bytes_ -= part_bytes;
  return Step::kDone;
}

TcpResponder::Step TcpResponder::ContinueWrite(TcpInput* input, TcpOutput* output) {
  const auto part_bytes =
      static_cast<uint32_t>(std::min<size_t>(write_left_bytes_, input->whole_words_bytes()));
  if (part_bytes == 0) return Step::kNoInput;
  const TcpExport* region;
  const CompletionStatus status = Resolve(current_, &region);
  if (status != CompletionStatus::kOk) return Refuse(status, output);
  const uint32_t done_bytes = current_.length_bytes - write_left_bytes_;
  // The owner's threads load these words meanwhile, and see them land in ascending order (release).
  CopyToShared(region->words + (current_.offset_bytes + done_bytes) / kWordBytes, input->words(),
               Words(part_bytes), CopyOrder::kAscending);
  has_unordered_stores_ = has_written_ = true;
  input->Take(part_bytes);
  write_left_bytes_ -= part_bytes;
  if (write_left_bytes_ == 0) FinishWrite();
  return Step::kDone;
}

void TcpResponder::FinishWrite() {
  Ack();
  has_written_ = true;
  if (current_.opcode != TcpOpcode::kWriteWithImm) return;
  // There is room: this thread alone pushes, and Start() looked.
  receives_->Push({.immediate = current_.immediate, .length_bytes = current_.length_bytes});
  has_received_ = true;
}

TcpResponder::Step TcpResponder::Garbage(absl::string_view why) {
  why_garbage_ = why;
  return Step::kGarbage;
}

TcpResponder::Step TcpResponder::Refuse(CompletionStatus status, TcpOutput* output) {
  refused_with_ = status;
  FlushAcks(output);
  output->AppendWire(
      TcpResponseWire{.payload_bytes = 0, .acks = 0, .status = ToWire(status), .reserved0 = 0});
  return Step::kRefused;
}

void TcpResponder::FlushAcks(TcpOutput* output) {
  // More than one response takes would be 2 MiB of requests in one Run().
  while (acks_ > 0) {
    const uint32_t acks = std::min(acks_, kTcpAcksMax);
    output->AppendWire(TcpResponseWire{.payload_bytes = 0,
                                       .acks = static_cast<uint16_t>(acks),
                                       .status = TcpStatus::kOk,
                                       .reserved0 = 0});
    acks_ -= acks;
  }
}

CompletionStatus TcpResponder::Resolve(const TcpRequestWire& wire, const TcpExport** region) const {
  const RemoteKey key{wire.key};
  const Opcode opcode = FromWire(wire.opcode);
  const uint64_t index = IndexOfTcpKey(key);
  if (index >= grants_.size() || grants_[index].key != key) return CompletionStatus::kBadKey;
  const Made& made = grants_[index];
  if (made.region->words == nullptr || !made.region->lease.IsLive()) {
    return CompletionStatus::kBadKey;
  }
  if ((made.rights & RightFor(opcode)) == 0) return CompletionStatus::kAccess;
  if (!IsInBounds(wire.offset_bytes, wire.length_bytes, made.region->size_bytes)) {
    return CompletionStatus::kBounds;
  }
  if (IsAtomic(opcode) && (made.region->is_foreign || !options_.is_same_domain)) {
    return CompletionStatus::kAtomicDomain;
  }
  *region = made.region.get();
  return CompletionStatus::kOk;
}

// The READs at the input's beginning, as far as nothing else stands between them.
void TcpResponder::Prefetch(const TcpInput& input) const {
  if (read_left_bytes_ > 0 || write_left_bytes_ > 0) return;
  for (size_t i = 0; i < kPrefetchAhead; ++i) {
    TcpRequestWire wire;
    if (!input.Peek(&wire, i * sizeof(wire)) || wire.opcode != TcpOpcode::kRead) return;
    const TcpExport* region;
    if (wire.length_bytes > kPrefetchBytesMax || WhyInvalid(wire).has_value() ||
        Resolve(wire, &region) != CompletionStatus::kOk) {
      return;
    }
    const auto* line = reinterpret_cast<const char*>(region->words) + wire.offset_bytes;
    for (uint32_t at = 0; at < wire.length_bytes; at += kLineBytes) __builtin_prefetch(line + at);
  }
}

}  // namespace acre::transport
