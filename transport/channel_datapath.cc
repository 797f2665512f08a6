// What a channel does while it runs. Making one is in channel.cc.

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/planted_bug.h"
#include "transport/channel.h"

namespace acre::transport {
namespace {

constexpr uint64_t WordsFor(uint64_t bytes) { return (bytes + kWordBytes - 1) / kWordBytes; }

uint64_t BytesOf(absl::Span<const absl::string_view> parts) {
  uint64_t bytes = 0;
  for (const absl::string_view part : parts) bytes += part.size();
  return bytes;
}

constexpr uint64_t kChecksumChunkWords = kChecksumChunkBytes / kWordBytes;

// The checksum of a payload, continued by its next chunk: all but the last are kChecksumChunkBytes
// long.
uint64_t ChainChecksum(uint64_t previous, const uint64_t* chunk, size_t bytes) {
  return XXH3_64bits_withSeed(chunk, bytes, previous);
}

// Of PlantedBug::kHeadBeforeZeroing: zeroes, too late, what was consumed between two credits.
void ZeroRing(SharedWord* ring, uint64_t ring_words, uint64_t from, uint64_t to) {
  for (; from != to; ++from) ring[from % ring_words].Store(0, std::memory_order_relaxed);
}

}  // namespace

// ---- Requests.

WorkRequest Channel::RequestFor(Opcode opcode, SharedWord* local, uint64_t length_bytes,
                                uint64_t remote_offset_bytes) const {
  return {.opcode = opcode,
          .local = local,
          .local_region = region_.get(),
          .length_bytes = static_cast<uint32_t>(length_bytes),
          .remote_key = {peer_.region_key},
          .remote_offset_bytes = remote_offset_bytes};
}

SharedWord* Channel::NextScratchLine(uint64_t later) const {
  // As many lines as requests can be under way: this one's last user has completed, once there is a
  // place for the request.
  return words_at(scratch_offset_bytes_ + (posted_requests_ + later) % kRequestsMax * kLineBytes);
}

bool Channel::PostBatch(absl::Span<WorkRequest> batch, bool must_signal) {
  if (!HasPlaceFor(batch.size())) return false;
  uint64_t bytes = bytes_since_signal_;
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i].id = kSinkIdBit | (posted_requests_ + i + 1);
    batch[i].signaled = false;
    bytes += batch[i].length_bytes;
  }
  // A completion frees places in the send queue and staging words: seldom enough to cost little,
  // often enough that a full queue, or a staging ring with no room, always has one under way
  // ("Room" in docs/rings.md).
  const uint64_t last_request = posted_requests_ + batch.size();
  const bool signaled = must_signal || batch.back().opcode == Opcode::kRead ||
                        last_request - signaled_requests_ >= requests_max_ / 2 ||
                        bytes >= uint64_t{ring_words_} * kWordBytes / 4;
  batch.back().signaled = signaled;
  const absl::Status posted = queue_pair_->Post(batch);
  if (!posted.ok()) {
    if (!absl::IsResourceExhausted(posted)) Break(posted);
    return false;
  }
  posted_requests_ = last_request;
  bytes_since_signal_ = signaled ? 0 : bytes;
  if (signaled) signaled_requests_ = last_request;
  return true;
}

void Channel::OnCompletion(const Completion& completion) {
  if (completion.kind == CompletionKind::kDisconnected) {
    return Break(absl::UnavailableError(
        absl::StrCat("peer ", peer_name_, " has gone: ", queue_pair_->status().message())));
  }
  // The news of a receive is that somebody should look at the ring: Poll() does.
  if (completion.kind != CompletionKind::kSend || (completion.id & kSinkIdBit) == 0) return;
  if (completion.status != CompletionStatus::kOk) {
    return Break(absl::UnavailableError(absl::StrCat(
        "peer ", peer_name_, ": a request failed: ", CompletionStatusName(completion.status))));
  }
  const uint64_t request = completion.id & ~kSinkIdBit;
  CHECK_GT(request, confirmed_requests_);
  CHECK_LE(request, posted_requests_);
  // Of one queue pair, in order (F1, F9): all earlier ones have completed too.
  confirmed_requests_ = request;
  sender_->OnConfirmed(ring_position_of_request_[request % kRequestsMax]);
  if (fetch_.state == Fetch::State::kReading && request >= fetch_.request) {
    fetch_.state = Fetch::State::kLanded;
  }
  if (gate_reads_ != 0) OnGateRead(request);
}

// ---- Sending.

absl::Status Channel::Send(uint8_t type, uint64_t view, absl::Span<const absl::string_view> parts) {
  CHECK_NE(type, 0);
  const uint64_t bytes = BytesOf(parts);
  CHECK_LE(bytes, kPayloadBytesMax);
  if (!usable()) return WhyUnusable();
  return bytes <= InlineBytesMax(ring_words_)
             ? SendInline(type, view, parts, static_cast<uint32_t>(bytes))
             : SendReference(type, view, parts, static_cast<uint32_t>(bytes));
}

absl::Status Channel::SendInline(uint8_t type, uint64_t view,
                                 absl::Span<const absl::string_view> parts, uint32_t bytes) {
  if (!sender_->HasRoom(bytes)) {
    if (!TakeCredits()) return absl::UnavailableError(status_.message());
    if (!sender_->HasRoom(bytes)) return no_room_;
  }
  Gather(parts, bytes);
  CHECK(sender_->Append(type, kFrameInline, view, gathered_.data(), bytes));
  return absl::OkStatus();
}

absl::Status Channel::WhyUnusable() const {
  return absl::UnavailableError(attached_ ? status_.message() : "the channel is not attached yet");
}

void Channel::Gather(absl::Span<const absl::string_view> parts, uint32_t bytes) {
  if (bytes > 0) gathered_[WordsFor(bytes) - 1] = 0;
  char* to = reinterpret_cast<char*>(gathered_.data());
  for (const absl::string_view part : parts) {
    if (part.empty()) continue;                 // memcpy takes no null pointer.
    std::memcpy(to, part.data(), part.size());  // Private memory.
    to += part.size();
  }
}

absl::Status Channel::SendReference(uint8_t type, uint64_t view,
                                    absl::Span<const absl::string_view> parts, uint32_t bytes) {
  PayloadReference reference = {.offset_bytes = 0, .length_bytes = bytes, .checksum = 0};
  if (!TakeCredits()) return absl::UnavailableError(status_.message());
  if (!sender_->HasRoom(sizeof(reference))) return no_room_;
  const absl::optional<uint64_t> offset = payload_area_->Allocate(bytes);
  if (!offset) return no_room_;
  reference.offset_bytes = *offset;
  reference.checksum = CopyToPayloadArea(*offset, parts);
  const auto words = std::bit_cast<std::array<uint64_t, 3>>(reference);
  CHECK(sender_->Append(type, kFrameReference, view, words.data(), sizeof(reference)));
  return absl::OkStatus();
}

uint64_t Channel::CopyToPayloadArea(uint64_t offset_bytes,
                                    absl::Span<const absl::string_view> parts) {
  SharedWord* to = words_at(offer_.payload_offset_bytes + offset_bytes);
  uint64_t checksum = 0;
  // By way of the gathering buffer: parts join in the middle of words, shared memory is made of
  // words.
  char* const buffer = reinterpret_cast<char*>(gathered_.data());
  size_t buffered_bytes = 0;
  const auto copy_buffered = [&] {
    const size_t words = WordsFor(buffered_bytes);
    // Private memory: the last word is padded.
    std::memset(buffer + buffered_bytes, 0, words * kWordBytes - buffered_bytes);
    checksum = ChainChecksum(checksum, gathered_.data(), buffered_bytes);
    // Release, word by word: who has seen the frame, which is posted later, READs these.
    CopyToShared(to, gathered_.data(), words, CopyOrder::kAscending);
    to += words;
    buffered_bytes = 0;
  };
  for (absl::string_view part : parts) {
    while (!part.empty()) {
      const size_t bytes = std::min(part.size(), sizeof(gathered_) - buffered_bytes);
      std::memcpy(buffer + buffered_bytes, part.data(), bytes);  // Private memory.
      part.remove_prefix(bytes);
      buffered_bytes += bytes;
      if (buffered_bytes == sizeof(gathered_)) copy_buffered();
    }
  }
  if (buffered_bytes > 0) copy_buffered();
  return checksum;
}

bool Channel::TakeCredits() {
  const SharedWord* const credit = words_at(offer_.credit_offset_bytes);
  // Acquire: the peer zeroed its ring, and READ our payloads, before it sent these. Our next WRITE
  // lands after that zeroing. The two words say nothing about each other.
  const uint64_t head_words = credit[0].Load(std::memory_order_acquire);
  const uint64_t payload_bytes = credit[1].Load(std::memory_order_acquire);
  auto why = sender_->OnCredit(head_words);
  if (!why) why = payload_area_->OnCredit(payload_bytes);
  if (!why) return true;
  Break(absl::DataLossError(absl::StrCat("peer ", peer_name_, " sent a bad credit: ", *why)));
  return false;
}

void Channel::Flush() {
  if (!usable()) return;
  if (peer_words_waiting_ != 0) PostPeerWords();
  RingSender::Segment segments[2];
  const size_t count = sender_->Pending(segments);
  if (count == 0) return;
  WorkRequest batch[3];
  for (size_t i = 0; i < count; ++i) {
    const uint64_t offset_bytes = segments[i].offset_words * kWordBytes;
    // The peer's poller reads these words as they land, in any order; it waits till none is zero.
    batch[i] = RequestFor(Opcode::kWrite, words_at(staging_offset_bytes_ + offset_bytes),
                          segments[i].words * kWordBytes, peer_.ring_offset_bytes + offset_bytes);
  }
  // One that may sleep is woken behind the last frame.
  if (peer_.busy_polling == 0) batch[count - 1].opcode = Opcode::kWriteWithImm;
  const uint64_t first_request = posted_requests_ + 1;
  // Somebody waits for what this carries: its completion comes at once, and a look at the gate with it.
  const bool is_awaited = wanted_placed_ > sender_->posted();
  size_t requests = count;
  if (is_awaited && gate_look_ == GateLook::kRead) batch[requests++] = GateRead(count);
  if (!PostBatch(absl::MakeSpan(batch, requests), is_awaited)) return;
  sender_->OnPosted();
  if (requests > count) gate_reads_ |= uint64_t{1} << posted_requests_ % kRequestsMax;
  for (uint64_t request = first_request; request <= posted_requests_; ++request) {
    ring_position_of_request_[request % kRequestsMax] = sender_->posted();
  }
}

void Channel::WritePeerWord(size_t index, uint64_t value) {
  CHECK_LT(index, kPeerWords);
  peer_word_values_[index] = value;
  peer_words_waiting_ |= 1u << index;
  if (usable()) PostPeerWords();
}

void Channel::PostPeerWords() {
  while (peer_words_waiting_ != 0) {
    if (!HasPlaceFor(1)) return;
    const auto index = static_cast<uint32_t>(std::countr_zero(peer_words_waiting_));
    SharedWord* const line = NextScratchLine();
    line[0].Store(peer_word_values_[index],
                  std::memory_order_relaxed);  // Read by the fabric alone.
    WorkRequest request =
        RequestFor(Opcode::kWrite, line, kWordBytes, peer_.words_offset_bytes + index * kWordBytes);
    request.inline_data = has_inline_data_;
    if (!PostBatch(absl::MakeSpan(&request, 1))) return;
    ring_position_of_request_[posted_requests_ % kRequestsMax] = sender_->posted();
    peer_words_waiting_ &= peer_words_waiting_ - 1;
  }
}

// ---- Receiving.

size_t Channel::Poll(Receiver* receiver, size_t messages_max) {
  if (!usable()) return 0;
  if (placed_ < wanted_placed_) LookForPlaced();
  size_t delivered = 0;
  if (is_deferred_ && DeliverDeferred(receiver)) ++delivered;
  while (delivered < messages_max && status_.ok() && !is_deferred_) {
    if (fetch_.state == Fetch::State::kToPost) PostFetch();
    if (fetch_.state == Fetch::State::kLanded) {
      if (DeliverFetched(receiver)) ++delivered;
      continue;
    }
    if (fetch_.state != Fetch::State::kNone) break;
    RingReceiver::Frame frame;
    const RingReceiver::Step step = receiver_->Next(&frame);
    if (step == RingReceiver::Step::kNothing) break;
    if (step == RingReceiver::Step::kInvalid) {
      BreakByFrame(receiver_->why_invalid());
    } else if (frame.reference) {
      StartFetch(frame);
    } else if (DeliverInline(receiver, frame)) {
      ++delivered;
    }
  }
  ReportCredit();
  return delivered;
}

bool Channel::DeliverInline(Receiver* receiver, const RingReceiver::Frame& frame) {
  const bool delivered = Deliver(receiver, frame.type, frame.view, frame.payload);
  if (!is_deferred_) [[likely]]
    return delivered;
  deferred_ = frame;
  return false;
}

bool Channel::DeliverDeferred(Receiver* receiver) {
  is_deferred_ = false;
  const RingReceiver::Frame frame = deferred_;
  return DeliverInline(receiver, frame);
}

bool Channel::Deliver(Receiver* receiver, uint8_t type, uint64_t view, absl::string_view payload) {
  absl::Status status = receiver->OnMessage(type, view, payload);
  if (status.ok() || is_deferred_) return true;
  heard_garbage_ = true;
  Break(absl::Status(status.code(),
                     absl::StrCat("peer ", peer_name_, " sent a bad message: ", status.message())));
  return false;
}

void Channel::BreakByFrame(absl::string_view why) {
  heard_garbage_ = true;
  Break(absl::DataLossError(absl::StrCat("peer ", peer_name_, " sent a bad frame: ", why)));
}

bool Channel::StartFetch(const RingReceiver::Frame& frame) {
  PayloadReference reference;
  std::memcpy(&reference, frame.payload.data(), sizeof(reference));  // Private memory.
  auto why = WhyInvalid(reference, peer_.payload_bytes);
  // The next piece begins where the last one ended, or at 0 when it did not fit there.
  const uint64_t expected = payload_position_ % peer_.payload_bytes;
  if (!why && reference.offset_bytes != expected && reference.offset_bytes != 0) {
    why = "reference: offset not behind the last payload";
  }
  if (why) {
    BreakByFrame(*why);
    return false;
  }
  if (reference.offset_bytes != expected) {
    payload_position_ += peer_.payload_bytes - expected;
  }
  fetch_ = {.state = Fetch::State::kToPost,
            .type = frame.type,
            .view = frame.view,
            .reference = reference};
  return true;
}

void Channel::PostFetch() {
  if (!HasPlaceFor(1)) return;
  // We saw the frame, so the payload, stored before it was posted, is there. The READ's destination
  // is idle: the one before it was copied away when it was delivered.
  WorkRequest request = RequestFor(Opcode::kRead, words_at(landing_offset_bytes_),
                                   WordsFor(fetch_.reference.length_bytes) * kWordBytes,
                                   peer_.payload_offset_bytes + fetch_.reference.offset_bytes);
  if (!PostBatch(absl::MakeSpan(&request, 1))) return;
  ring_position_of_request_[posted_requests_ % kRequestsMax] = sender_->posted();
  fetch_.request = posted_requests_;
  fetch_.state = Fetch::State::kReading;
}

bool Channel::DeliverFetched(Receiver* receiver) {
  const uint64_t bytes = fetch_.reference.length_bytes;
  const uint64_t words = WordsFor(bytes);
  if (fetched_ == nullptr) fetched_ = std::make_unique<uint64_t[]>(WordsFor(kPayloadBytesMax));
  // The peer may write to the landing area as well: what is judged and delivered is a private copy.
  uint64_t checksum = 0;
  for (uint64_t begin = 0; begin < words; begin += kChecksumChunkWords) {
    const uint64_t chunk_words = std::min(words - begin, kChecksumChunkWords);
    CopyFromShared(fetched_.get() + begin, words_at(landing_offset_bytes_) + begin, chunk_words,
                   CopyOrder::kAscending);
    checksum = ChainChecksum(checksum, fetched_.get() + begin,
                             std::min(bytes - begin * kWordBytes, chunk_words * kWordBytes));
  }
  fetch_.state = Fetch::State::kNone;
  payload_position_ += words * kWordBytes;
  if (checksum != fetch_.reference.checksum) {
    BreakByFrame("reference: checksum");
    return false;
  }
  const absl::string_view payload(reinterpret_cast<const char*>(fetched_.get()), bytes);
  const bool delivered = Deliver(receiver, fetch_.type, fetch_.view, payload);
  CHECK(!is_deferred_) << "a message by reference";
  return delivered;
}

void Channel::ReportCredit() {
  const uint64_t head_words = receiver_->head();
  const bool ring_is_due = head_words - reported_head_ >= ring_words_ / 4;
  const bool area_is_due =
      payload_position_ - reported_payload_position_ >= peer_.payload_bytes / 4;
  if ((!ring_is_due && !area_is_due) || !status_.ok() || !HasPlaceFor(1)) return;
  SharedWord* const line = NextScratchLine();
  line[0].Store(head_words, std::memory_order_relaxed);  // Read by the fabric alone, after Post().
  line[1].Store(payload_position_, std::memory_order_relaxed);
  // A sender that sleeps till there is room must be woken, so this too goes WITH_IMM.
  const Opcode opcode = peer_.busy_polling != 0 ? Opcode::kWrite : Opcode::kWriteWithImm;
  WorkRequest request = RequestFor(opcode, line, 2 * kWordBytes, peer_.credit_offset_bytes);
  request.inline_data = has_inline_data_;
  if (!PostBatch(absl::MakeSpan(&request, 1))) return;
  ring_position_of_request_[posted_requests_ % kRequestsMax] = sender_->posted();
  if (IsPlanted(PlantedBug::kHeadBeforeZeroing)) {
    ZeroRing(words_at(offer_.ring_offset_bytes), ring_words_, reported_head_, head_words);
  }
  reported_head_ = head_words;
  reported_payload_position_ = payload_position_;
}

}  // namespace acre::transport
