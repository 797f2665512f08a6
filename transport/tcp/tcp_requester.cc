#include "transport/tcp/tcp_requester.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transport/provider_rules.h"

namespace acre::transport {
namespace {

// A request's local buffer belongs to the request until it completes: private memory to all but us.
uint64_t* Private(SharedWord* words) { return reinterpret_cast<uint64_t*>(words); }

// What a WRITE carries. One that is not whole words is refused by its head; what follows does not matter.
uint32_t CarriedBytes(const WorkRequest& request) {
  if (!IsWrite(request.opcode)) return 0;
  return request.length_bytes - request.length_bytes % static_cast<uint32_t>(kWordBytes);
}

bool BringsBytes(const WorkRequest& request) {
  return !IsWrite(request.opcode) && LengthOf(request) > 0;
}

absl::Status Nonsense(absl::string_view what) { return absl::InvalidArgumentError(what); }

}  // namespace

void TcpRequester::Post(const WorkRequest& request, TcpOutput* output) {
  Entry& entry = EntryAt(posted_);
  entry.request = request;
  entry.inline_words.clear();
  ++posted_;
  Encode(output);
  if (request.inline_data && sent_ != posted_) {
    // The caller's bytes are free when Post() returns.
    const uint64_t* words = Private(request.local);
    entry.inline_words.assign(words, words + request.length_bytes / kWordBytes);
  }
}

void TcpRequester::Encode(TcpOutput* output) {
  while (sent_ != posted_) {
    const Entry& entry = EntryAt(sent_);
    const WorkRequest& request = entry.request;
    if (!is_head_sent_) {
      if (!EncodeHead(request, output)) return;
      is_head_sent_ = true;
    }
    const uint32_t left_bytes = CarriedBytes(request) - write_sent_bytes_;
    const auto part_bytes =
        static_cast<uint32_t>(std::min<size_t>(left_bytes, output->room_bytes()));
    if (part_bytes > 0) {
      const uint64_t* const words =
          entry.inline_words.empty() ? Private(request.local) : entry.inline_words.data();
      const uint64_t* const from = words + write_sent_bytes_ / kWordBytes;
      std::memcpy(output->Append(part_bytes), from, part_bytes);  // private memory
      write_sent_bytes_ += part_bytes;
    }
    if (part_bytes < left_bytes) return;
    ++sent_;
    is_head_sent_ = false;
    write_sent_bytes_ = 0;
  }
}

bool TcpRequester::EncodeHead(const WorkRequest& request, TcpOutput* output) {
  const bool is_atomic = IsAtomic(request.opcode);
  if (output->room_bytes() < sizeof(TcpRequestWire) + (is_atomic ? sizeof(TcpAtomicWire) : 0)) {
    return false;
  }
  output->AppendWire(TcpRequestWire{
      .opcode = ToWire(request.opcode),
      .flags = request.fence ? kTcpFlagFence : uint8_t{0},
      .traffic_class = request.traffic_class,
      .reserved0 = 0,
      .tenant = request.tenant,
      .reserved1 = 0,
      .length_bytes = LengthOf(request),
      .immediate = request.opcode == Opcode::kWriteWithImm ? request.immediate : 0,
      .key = request.remote_key.bits,
      .offset_bytes = request.remote_offset_bytes,
  });
  if (is_atomic) {
    output->AppendWire(TcpAtomicWire{
        .compare = request.opcode == Opcode::kCompareSwap ? request.compare : 0,
        .swap_or_add = request.swap_or_add,
    });
  }
  return true;
}

absl::Status TcpRequester::Consume(TcpInput* input) {
  while (true) {
    if (part_left_bytes_ > 0) {
      Land(input);
      if (part_left_bytes_ > 0) return absl::OkStatus();
      continue;
    }
    TcpResponseWire response;
    if (!input->Peek(&response)) return absl::OkStatus();
    if (const auto why = WhyInvalid(response)) return Nonsense(*why);
    input->Take(sizeof(response));
    const absl::Status status = OnResponse(response);
    if (!status.ok()) return status;
  }
}

void TcpRequester::Land(TcpInput* input) {
  const WorkRequest& request = EntryAt(answered_).request;
  const auto bytes =
      static_cast<uint32_t>(std::min<size_t>(part_left_bytes_, input->whole_words_bytes()));
  if (bytes == 0) return;
  uint64_t* const to = Private(request.local) + landed_bytes_ / kWordBytes;
  std::memcpy(to, input->words(), bytes);  // private memory
  input->Take(bytes);
  landed_bytes_ += bytes;
  part_left_bytes_ -= bytes;
  if (landed_bytes_ == LengthOf(request)) Answer(CompletionStatus::kOk);
}

absl::Status TcpRequester::OnResponse(const TcpResponseWire& response) {
  if (response.acks > 0) return OnAcks(response.acks);
  if (response.status != TcpStatus::kOk) {
    // It may come before the end of a WRITE that is refused.
    if (answered_ == sent_ && !is_head_sent_) return Nonsense("an answer to nothing");
    const WorkRequest request = EntryAt(answered_).request;
    const CompletionStatus status = FromWire(response.status);
    Answer(status);
    return absl::AbortedError(absl::StrCat("request ", request.id,
                                           " failed: ", CompletionStatusName(status), " at offset ",
                                           request.remote_offset_bytes));
  }
  const Entry* const oldest = Oldest();
  if (oldest == nullptr) return Nonsense("an answer to nothing");
  if (!BringsBytes(oldest->request)) return Nonsense("bytes that were not asked for");
  if (response.payload_bytes > LengthOf(oldest->request) - landed_bytes_) {
    return Nonsense("more bytes than were asked for");
  }
  part_left_bytes_ = response.payload_bytes;
  return absl::OkStatus();
}

absl::Status TcpRequester::OnAcks(uint32_t acks) {
  for (uint32_t i = 0; i < acks; ++i) {
    const Entry* const oldest = Oldest();
    if (oldest == nullptr) return Nonsense("an answer to nothing");
    if (BringsBytes(oldest->request)) return Nonsense("an answer without the bytes asked for");
    Answer(CompletionStatus::kOk);
  }
  return absl::OkStatus();
}

void TcpRequester::Answer(CompletionStatus status) {
  // A request that was refused in its middle counts as sent: nothing more goes out.
  const WorkRequest& request = EntryAt(answered_).request;
  ++answered_;
  sent_ = std::max(sent_, answered_);
  landed_bytes_ = 0;
  sink_->OnAnswer(request, status);
}

void TcpRequester::Flush(CompletionStatus first) {
  CompletionStatus status = first;
  while (answered_ != posted_) {
    Answer(status);
    status = CompletionStatus::kFlushed;
  }
}

}  // namespace acre::transport
