#include "server/doctor/pair_link.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/deadline.h"
#include "transport/region_header.h"
#include "transport/wire_bytes.h"

namespace acre::doctor {
namespace {

using transport::CompletionStatus;
using transport::Opcode;
using transport::WorkRequest;

constexpr uint64_t kNsPerS = 1'000'000'000;
// Of the trial that a peer asks for: it waits for the answer, and has a deadline of its own.
constexpr uint64_t kTrialNs = 10 * kNsPerS;
constexpr int kRoundTrips = 200;
constexpr size_t kRequestsAtOnce = 16;
constexpr size_t kWords = kPairBytes / kWordBytes;
constexpr size_t kHeaderWords = transport::kRegionHeaderBytes / kWordBytes;

uint64_t PatternAt(uint64_t seed, size_t index) {
  // Odd multipliers: all words of a pattern differ, and so do the patterns of two seeds.
  return (seed + index) * 0x9e3779b97f4a7c15 + 1;
}

absl::Status ErrorTrying() {
  return absl::AlreadyExistsError("another trial of this connection is under way, or failed");
}

uint64_t BytesPerSecond(uint64_t ns) { return kPairBytes * kNsPerS / std::max<uint64_t>(ns, 1); }

}  // namespace

absl::StatusOr<std::unique_ptr<PairLink>> PairLink::Create(PairLinkContext context,
                                                           transport::Link link) {
  auto lent =
      context.fabric->CreateRegion({.region_id = context.next_region_id(),
                                    .size_bytes = transport::kRegionHeaderBytes + kPairBytes,
                                    .peer_rights = transport::kRightRead | transport::kRightWrite,
                                    .name = "kv_doctor-lent"});
  if (!lent.ok()) return lent.status();
  auto own =
      context.fabric->CreateRegion({.region_id = context.next_region_id(),
                                    .size_bytes = transport::kRegionHeaderBytes + 2 * kPairBytes,
                                    .name = "kv_doctor-own"});
  if (!own.ok()) return own.status();
  return std::unique_ptr<PairLink>(
      new PairLink(std::move(context), std::move(link), *std::move(lent), *std::move(own)));
}

PairLink::PairLink(PairLinkContext context, transport::Link link, Region lent, Region own)
    : context_(std::move(context)),
      lent_(std::move(lent)),
      own_(std::move(own)),
      link_(std::move(link)),
      rpc_(context_.scheduler, link_.channel(), this) {
  context_.port->SetSink(link_.queue_pair(), this);
  context_.scheduler->AddPoller(this);
}

PairLink::~PairLink() {
  context_.scheduler->RemovePoller(this);
  context_.port->SetSink(link_.queue_pair(), nullptr);
}

void PairLink::OnCompletion(const transport::Completion& completion) {
  link_.channel()->OnCompletion(completion);
}

bool PairLink::Poll() {
  // Whoever waits for an answer learns of the end from the channel.
  if (link_.queue_pair()->state() == transport::QueuePairState::kBroken && link_.channel()->ok()) {
    rpc_.Fail(link_.queue_pair()->status());
    return true;
  }
  return rpc_.Poll();
}

bool PairLink::IsBroken() const {
  return !link_.channel()->ok() ||
         link_.queue_pair()->state() == transport::QueuePairState::kBroken;
}

absl::Status PairLink::WhyBroken() const {
  // The queue pair knows the cause; the channel saw its effect.
  if (absl::Status status = link_.queue_pair()->status(); !status.ok()) return status;
  return link_.channel()->status();
}

absl::Status PairLink::Explain(absl::string_view what, const absl::Status& status) const {
  const absl::Status why = WhyBroken();
  return absl::Status(status.code(),
                      absl::StrCat(what, ": ", status.message(),
                                   why.ok() ? "" : absl::StrCat(" (", why.message(), ")")));
}

absl::StatusOr<AreaWire> PairLink::Lend() {
  if (!lent_key_.has_value()) {
    const auto key =
        link_.queue_pair()->Grant(*lent_, transport::kRightRead | transport::kRightWrite);
    if (!key.ok()) return key.status();
    lent_key_ = *key;
  }
  return AreaWire{lent_key_->bits, transport::kRegionHeaderBytes};
}

Task<absl::Status> PairLink::Call(PairMethod method, std::string request, std::string* response,
                                  uint64_t deadline_ns) {
  co_return co_await WithDeadline(
      *context_.scheduler, deadline_ns,
      rpc_.Call(static_cast<uint16_t>(method), request, /*request_body=*/"", response));
}

Task<absl::StatusOr<Introduction>> PairLink::Introduce(uint64_t deadline_ns) {
  std::string response;
  const absl::Status called = co_await Call(PairMethod::kIntroduce, "", &response, deadline_ns);
  if (!called.ok()) co_return Explain("asking the peer who it is", called);
  co_return ParseIntroduction(response);
}

Task<absl::StatusOr<TrialWire>> PairLink::Try(uint64_t deadline_ns) {
  std::string response;
  const absl::Status called = co_await Call(PairMethod::kLend, "", &response, deadline_ns);
  if (!called.ok()) co_return Explain("asking the peer for memory", called);
  const absl::StatusOr<AreaWire> area = ParseArea(response);
  if (!area.ok()) co_return area.status();
  absl::StatusOr<TrialWire> tried = co_await TryArea(*area, deadline_ns);
  co_return tried;
}

Task<absl::StatusOr<TrialWire>> PairLink::BeTried(uint64_t deadline_ns) {
  const absl::StatusOr<AreaWire> area = Lend();
  if (!area.ok()) co_return area.status();
  std::string request, response;
  transport::AppendWire(&request, *area);
  const absl::Status called =
      co_await Call(PairMethod::kTry, std::move(request), &response, deadline_ns);
  if (!called.ok()) co_return Explain("having the peer try", called);
  co_return ParseTrial(response);
}

Task<absl::Status> PairLink::Handle(transport::RpcContext* context) {
  switch (static_cast<PairMethod>(context->method)) {
    case PairMethod::kIntroduce:
      context->response = EncodeIntroduction(context_.introduction);
      co_return absl::OkStatus();
    case PairMethod::kLend: {
      const absl::StatusOr<AreaWire> area = Lend();
      if (!area.ok()) co_return area.status();
      transport::AppendWire(&context->response, *area);
      co_return absl::OkStatus();
    }
    case PairMethod::kTry: {
      const absl::StatusOr<AreaWire> area = ParseArea(context->request);
      if (!area.ok()) co_return area.status();
      const absl::StatusOr<TrialWire> trial =
          co_await TryArea(*area, context_.scheduler->NowNs() + kTrialNs);
      if (!trial.ok()) co_return trial.status();
      transport::AppendWire(&context->response, *trial);
      co_return absl::OkStatus();
    }
  }
  co_return absl::UnimplementedError("no such method: is the other kv_doctor of another release?");
}

Task<absl::Status> PairLink::Run(absl::Span<WorkRequest> batch, uint64_t deadline_ns) {
  const absl::optional<CompletionStatus> status =
      co_await context_.port->ExecuteUntil(link_.queue_pair(), batch, deadline_ns);
  if (!status.has_value()) co_return absl::DeadlineExceededError("no answer in time");
  if (*status == CompletionStatus::kOk) co_return absl::OkStatus();
  co_return absl::UnavailableError(transport::CompletionStatusName(*status));
}

// All of the area, in requests of one size.
Task<absl::Status> PairLink::Move(Opcode opcode, AreaWire area, uint64_t deadline_ns) {
  size_t count = kRequestsAtOnce;
  while (count > context_.fabric->device().send_queue_depth_max) count /= 2;
  const auto length_bytes = static_cast<uint32_t>(kPairBytes / count);
  std::vector<WorkRequest> batch(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t word = i * length_bytes / kWordBytes;
    batch[i].opcode = opcode;
    batch[i].local = own_->words() + kHeaderWords + word + (opcode == Opcode::kRead ? kWords : 0);
    batch[i].local_region = own_.get();
    batch[i].length_bytes = length_bytes;
    batch[i].remote_key = {area.key};
    batch[i].remote_offset_bytes = area.offset_bytes + i * length_bytes;
  }
  absl::Status status = co_await Run(absl::MakeSpan(batch), deadline_ns);
  if (!status.ok()) {
    co_return Explain(opcode == Opcode::kRead ? "READ of 1 MiB" : "WRITE of 1 MiB", status);
  }
  co_return status;
}

Task<absl::StatusOr<uint64_t>> PairLink::MeasureRoundTrip(AreaWire area, uint64_t deadline_ns) {
  std::vector<uint64_t> took_ns;
  for (int i = 0; i < kRoundTrips; ++i) {
    std::array<WorkRequest, 1> read;
    read[0].opcode = Opcode::kRead;
    read[0].local = own_->words() + kHeaderWords + kWords;
    read[0].local_region = own_.get();
    read[0].length_bytes = kWordBytes;
    read[0].remote_key = {area.key};
    read[0].remote_offset_bytes = area.offset_bytes;
    const uint64_t begun_ns = context_.scheduler->NowNs();
    const absl::Status status = co_await Run(absl::MakeSpan(read), deadline_ns);
    if (!status.ok()) co_return Explain("READ of 8 B", status);
    took_ns.push_back(context_.scheduler->NowNs() - begun_ns);
  }
  std::nth_element(took_ns.begin(), took_ns.begin() + kRoundTrips / 2, took_ns.end());
  co_return took_ns[kRoundTrips / 2];
}

Task<absl::StatusOr<TrialWire>> PairLink::TryArea(AreaWire area, uint64_t deadline_ns) {
  // Two at a time would share the buffers. A peer that asks for it has itself to blame.
  if (std::exchange(is_trying_, true)) co_return ErrorTrying();
  const uint64_t seed = context_.scheduler->random().Next();
  SharedWord* const sent = own_->words() + kHeaderWords;
  SharedWord* const came = sent + kWords;
  // Relaxed: nobody else has them, and Post() hands them over.
  for (size_t i = 0; i < kWords; ++i) sent[i].Store(PatternAt(seed, i), std::memory_order_relaxed);
  TrialWire trial = {};
  const uint64_t begun_ns = context_.scheduler->NowNs();
  absl::Status status = co_await Move(Opcode::kWrite, area, deadline_ns);
  if (!status.ok()) co_return status;
  const uint64_t written_ns = context_.scheduler->NowNs();
  status = co_await Move(Opcode::kRead, area, deadline_ns);
  if (!status.ok()) co_return status;
  const uint64_t read_ns = context_.scheduler->NowNs();
  for (size_t i = 0; i < kWords; ++i) {
    if (came[i].Load(std::memory_order_relaxed) == PatternAt(seed, i)) continue;
    co_return absl::DataLossError(
        absl::StrCat("what was read back differs from what was written, "
                     "first at byte ",
                     i * kWordBytes));
  }
  absl::StatusOr<uint64_t> round_trip_ns = co_await MeasureRoundTrip(area, deadline_ns);
  if (!round_trip_ns.ok()) co_return round_trip_ns.status();
  trial.round_trip_ns = *round_trip_ns;
  trial.write_bytes_per_second = BytesPerSecond(written_ns - begun_ns);
  trial.read_bytes_per_second = BytesPerSecond(read_ns - written_ns);
  is_trying_ = false;
  co_return trial;
}

}  // namespace acre::doctor
