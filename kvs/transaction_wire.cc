#include "kvs/transaction_wire.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"
#include "kvs/limits.h"
#include "transport/wire_bytes.h"

namespace acre::kvs {
namespace {

using transport::AppendWire;
using transport::TakeBytes;
using transport::TakeWire;
using Answer = TransactionVote::Answer;

// Of a vote's text.
constexpr size_t kTextBytesMax = 1024;
static_assert(sizeof(TransactionHoldHeader) +
                  kTransactionHoldKeysMax * (sizeof(uint16_t) + kKeyBytesMax) <=
              transport::kRpcBytesMax);
static_assert(kTransactionWritesMax <= UINT16_MAX && kTransactionReadsMax <= UINT16_MAX &&
              kTransactionHomesMax <= UINT16_MAX && kKeyBytesMax <= UINT16_MAX);

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("transactions: ", what));
}

// A message that is one struct, whole.
template <class T>
bool TakeWhole(absl::string_view bytes, T* wire) {
  return TakeWire(&bytes, wire) && bytes.empty();
}

TransactionIdWire ToWire(const TransactionId& id) {
  return {id.coordinator.view, id.coordinator.process_id, id.coordinator.thread, id.sequence};
}
TransactionId FromWire(const TransactionIdWire& wire) {
  return {{wire.view, wire.process_id, wire.thread}, wire.sequence};
}
ReadMarkWire ToWire(const ReadMark& mark) { return {mark.word.bits(), mark.bits}; }
ReadMark FromWire(const ReadMarkWire& wire) {
  return {GlobalAddress::FromBits(wire.word), wire.bits};
}

bool IsZero(const TransactionIdWire& wire) {
  return wire.view == 0 && wire.process_id == 0 && wire.thread == 0 && wire.sequence == 0;
}

bool HasStatus(Answer answer) { return answer == Answer::kNoMemory || answer == Answer::kInvalid; }

void AppendMarks(absl::Span<const ReadMark> marks, std::string* bytes) {
  for (const ReadMark& mark : marks) AppendWire(bytes, ToWire(mark));
}

absl::Status TakeMarks(size_t count, absl::string_view* bytes, std::vector<ReadMark>* marks) {
  if (count > kTransactionReadsMax) return Invalid(absl::StrCat(count, " marks of one kind"));
  marks->clear();
  for (size_t i = 0; i < count; ++i) {
    ReadMarkWire wire;
    if (!TakeWire(bytes, &wire)) return Invalid("a request that ends in a mark");
    marks->push_back(FromWire(wire));
  }
  return absl::OkStatus();
}

absl::Status TakeParticipants(size_t count, absl::string_view* bytes,
                              std::vector<TransactionParticipant>* participants) {
  if (count > kTransactionHomesMax) return Invalid(absl::StrCat(count, " homes"));
  participants->clear();
  for (size_t i = 0; i < count; ++i) {
    TransactionParticipantWire wire;
    if (!TakeWire(bytes, &wire)) return Invalid("a request that ends in its homes");
    if (wire.reserved0 != 0) return Invalid("a reserved field of a home");
    participants->push_back({wire.server_index, wire.incarnation});
  }
  return absl::OkStatus();
}

absl::Status TakeWrite(absl::string_view* bytes, TransactionWrite* write) {
  TransactionWriteWire wire;
  if (!TakeWire(bytes, &wire) || !TakeBytes(bytes, wire.key_bytes, &write->key) ||
      !TakeBytes(bytes, wire.value_bytes, &write->value)) {
    return Invalid("a request that ends in a write");
  }
  if (wire.kind > static_cast<uint8_t>(TransactionWrite::Kind::kDelete) ||
      wire.expect > static_cast<uint8_t>(TransactionWrite::Expect::kAbsent)) {
    return Invalid("a write of no known kind");
  }
  write->kind = static_cast<TransactionWrite::Kind>(wire.kind);
  write->expect = static_cast<TransactionWrite::Expect>(wire.expect);
  write->mark = FromWire(wire.mark);
  if (write->expect == TransactionWrite::Expect::kNothing &&
      (wire.mark.word != 0 || wire.mark.bits != 0)) {
    return Invalid("a mark of a write that expects nothing");
  }
  if (write->kind == TransactionWrite::Kind::kDelete && wire.value_bytes != 0) {
    return Invalid("a delete with a value");
  }
  return absl::OkStatus();
}

}  // namespace

absl::optional<TransactionId> ParseTransactionName(absl::string_view name) {
  (void)absl::ConsumePrefix(&name, "transaction ");
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
  TransactionId id;
  if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &id.coordinator.view) ||
      !absl::SimpleAtoi(parts[1], &id.coordinator.process_id) ||
      !absl::SimpleAtoi(parts[2], &id.coordinator.thread) ||
      !absl::SimpleAtoi(parts[3], &id.sequence) || id.coordinator.process_id == 0) {
    return absl::nullopt;
  }
  return id;
}

std::string EncodeNotice(const TransactionId& id, uint64_t finished_below) {
  std::string bytes;
  AppendWire(&bytes, TransactionNotice{ToWire(id), finished_below});
  return bytes;
}

absl::StatusOr<ParsedNotice> ParseNotice(absl::string_view notice) {
  TransactionNotice wire;
  if (!TakeWhole(notice, &wire)) {
    return Invalid(absl::StrCat("a notice of ", notice.size(), " B"));
  }
  if (wire.id.process_id == 0) return Invalid("a notice about no process");
  return ParsedNotice{FromWire(wire.id), wire.finished_below};
}

bool EncodeTransaction(const TransactionId& id, uint64_t finished_below,
                       absl::optional<uint64_t> hold,
                       absl::Span<const TransactionParticipant> participants,
                       absl::Span<const ReadMark> misses, absl::Span<const ReadMark> reads,
                       absl::Span<const TransactionWrite> writes, std::string* request) {
  CHECK_LE(participants.size(), kTransactionHomesMax);
  CHECK_LE(misses.size(), kTransactionReadsMax);
  CHECK_LE(reads.size(), kTransactionReadsMax);
  CHECK(!writes.empty());
  CHECK_LE(writes.size(), kTransactionWritesMax);
  CHECK(!hold.has_value() || *hold != 0);
  size_t bytes = sizeof(TransactionHeader) +
                 participants.size() * sizeof(TransactionParticipantWire) +
                 (misses.size() + reads.size()) * sizeof(ReadMarkWire);
  for (const TransactionWrite& write : writes) {
    CHECK_LE(write.key.size(), kKeyBytesMax);
    CHECK_LE(write.value.size(), kValueBytesMax);
    bytes += TransactionWriteBytes(write.key, write.value);
  }
  if (bytes > transport::kRpcBytesMax) return false;
  request->clear();
  request->reserve(bytes);
  AppendWire(request, TransactionHeader{ToWire(id), finished_below, hold.value_or(0),
                                        static_cast<uint16_t>(participants.size()),
                                        static_cast<uint16_t>(misses.size()),
                                        static_cast<uint16_t>(reads.size()),
                                        static_cast<uint16_t>(writes.size())});
  for (const TransactionParticipant& participant : participants) {
    AppendWire(request,
               TransactionParticipantWire{participant.server_index, 0, participant.incarnation});
  }
  AppendMarks(misses, request);
  AppendMarks(reads, request);
  for (const TransactionWrite& write : writes) {
    const bool expects = write.expect != TransactionWrite::Expect::kNothing;
    AppendWire(request, TransactionWriteWire{expects ? ToWire(write.mark) : ReadMarkWire{0, 0},
                                             static_cast<uint32_t>(write.value.size()),
                                             static_cast<uint16_t>(write.key.size()),
                                             static_cast<uint8_t>(write.kind),
                                             static_cast<uint8_t>(write.expect)});
    request->append(write.key.data(), write.key.size());
    request->append(write.value.data(), write.value.size());
  }
  return true;
}

absl::Status ParseTransaction(absl::string_view request, TransactionRequest* parsed) {
  TransactionHeader header;
  if (!TakeWire(&request, &header)) return Invalid("a request without a header");
  if (header.id.process_id == 0) return Invalid("a request of no process");
  if (header.writes_count == 0 || header.writes_count > kTransactionWritesMax) {
    return Invalid(absl::StrCat(header.writes_count, " writes to one server, of ",
                                kTransactionWritesMax, " at most"));
  }
  parsed->id = FromWire(header.id);
  parsed->finished_below = header.finished_below;
  parsed->hold = absl::nullopt;
  if (header.hold != 0) parsed->hold = header.hold;
  absl::Status status =
      TakeParticipants(header.participants_count, &request, &parsed->participants);
  if (status.ok()) status = TakeMarks(header.misses_count, &request, &parsed->misses);
  if (status.ok()) status = TakeMarks(header.reads_count, &request, &parsed->reads);
  parsed->writes.clear();
  for (size_t i = 0; status.ok() && i < header.writes_count; ++i) {
    status = TakeWrite(&request, &parsed->writes.emplace_back());
  }
  if (!status.ok()) return status;
  return request.empty() ? absl::OkStatus() : Invalid("bytes behind the last write");
}

void EncodeVote(const TransactionVote& vote, std::string* response) {
  const bool has_status = HasStatus(vote.answer);
  TransactionVoteWire wire = {};
  wire.answer = static_cast<uint32_t>(vote.answer);
  wire.index = static_cast<uint32_t>(vote.index);
  if (has_status) wire.status_code = static_cast<uint32_t>(vote.status.code());
  if (vote.answer == Answer::kLocked && vote.winner.has_value()) {
    wire.has_winner = 1;
    wire.winner = ToWire(*vote.winner);
  }
  response->clear();
  AppendWire(response, wire);
  if (!has_status) return;
  CHECK(!vote.status.ok()) << "a vote that says why it can not be says so";
  const absl::string_view text = vote.status.message().substr(0, kTextBytesMax);
  response->append(text.data(), text.size());
}

absl::StatusOr<TransactionVote> ParseVote(absl::string_view response) {
  TransactionVoteWire wire;
  if (!TakeWire(&response, &wire)) return Invalid("no vote");
  if (wire.answer > static_cast<uint32_t>(Answer::kOver)) return Invalid("a vote of no known kind");
  TransactionVote vote;
  vote.answer = static_cast<Answer>(wire.answer);
  vote.index = wire.index;
  if (vote.index >= kTransactionWritesMax + 2 * kTransactionReadsMax) {
    return Invalid("a vote about what was not asked");
  }
  const bool has_status = wire.status_code != 0;
  if (has_status != HasStatus(vote.answer) || (!has_status && !response.empty()) ||
      response.size() > kTextBytesMax ||
      wire.status_code > static_cast<uint32_t>(absl::StatusCode::kUnauthenticated)) {
    return Invalid("a vote whose status makes no sense");
  }
  if (has_status) {
    vote.status = absl::Status(static_cast<absl::StatusCode>(wire.status_code), response);
  }
  if (wire.has_winner == 0) {
    if (!IsZero(wire.winner)) return Invalid("a winner of a vote that has none");
    return vote;
  }
  if (wire.has_winner != 1 || vote.answer != Answer::kLocked || wire.winner.process_id == 0) {
    return Invalid("a winner that makes no sense");
  }
  vote.winner = FromWire(wire.winner);
  return vote;
}

void EncodeHold(const TransactionThread& thread, uint64_t number, uint64_t wait_ns,
                absl::Span<const absl::string_view> keys, std::string* request) {
  CHECK_NE(number, 0u);
  CHECK(!keys.empty());
  CHECK_LE(keys.size(), kTransactionHoldKeysMax);
  request->clear();
  AppendWire(request, TransactionHoldHeader{ToWire(TransactionId{thread, number}), wait_ns,
                                            static_cast<uint32_t>(keys.size()), 0});
  for (const absl::string_view key : keys) {
    CHECK_LE(key.size(), kKeyBytesMax);
    AppendWire(request, static_cast<uint16_t>(key.size()));
    request->append(key.data(), key.size());
  }
}

absl::StatusOr<HoldRequest> ParseHold(absl::string_view request) {
  TransactionHoldHeader header;
  if (!TakeWire(&request, &header)) return Invalid("a hold without a header");
  if (header.reserved0 != 0) return Invalid("a reserved field of a hold");
  if (header.hold.process_id == 0 || header.hold.sequence == 0) {
    return Invalid("a hold of no process, or without a number");
  }
  if (header.keys_count == 0 || header.keys_count > kTransactionHoldKeysMax) {
    return Invalid(absl::StrCat("a hold of ", header.keys_count, " keys"));
  }
  HoldRequest parsed;
  parsed.thread = FromWire(header.hold).coordinator;
  parsed.number = header.hold.sequence;
  parsed.wait_ns = header.wait_ns;
  parsed.keys.resize(header.keys_count);
  for (absl::string_view& key : parsed.keys) {
    uint16_t key_bytes;
    if (!TakeWire(&request, &key_bytes) || !TakeBytes(&request, key_bytes, &key)) {
      return Invalid("a hold that ends in a key");
    }
  }
  if (!request.empty()) return Invalid("bytes behind the last key of a hold");
  return parsed;
}

std::string EncodeId(const TransactionId& id) {
  std::string bytes;
  AppendWire(&bytes, ToWire(id));
  return bytes;
}

absl::StatusOr<TransactionId> ParseId(absl::string_view request) {
  TransactionIdWire wire;
  if (!TakeWhole(request, &wire)) return Invalid(absl::StrCat("an id of ", request.size(), " B"));
  if (wire.process_id == 0) return Invalid("an id of no process");
  return FromWire(wire);
}

std::string EncodeOutcome(TransactionOutcome outcome) {
  CHECK(outcome != TransactionOutcome::kLocked) << "who is asked promises, or knows";
  std::string bytes;
  AppendWire(&bytes, TransactionOutcomeWire{static_cast<uint64_t>(outcome)});
  return bytes;
}

absl::StatusOr<TransactionOutcome> ParseOutcome(absl::string_view response) {
  TransactionOutcomeWire wire;
  if (!TakeWhole(response, &wire)) return Invalid("an outcome of another length");
  switch (wire.outcome) {
    case static_cast<uint64_t>(TransactionOutcome::kUnknown):
    case static_cast<uint64_t>(TransactionOutcome::kCommitted):
    case static_cast<uint64_t>(TransactionOutcome::kAborted):
    case static_cast<uint64_t>(TransactionOutcome::kPromised):
      return static_cast<TransactionOutcome>(wire.outcome);
    default:
      return Invalid(absl::StrCat("an outcome that is none: ", wire.outcome));
  }
}

std::string EncodeResolve(const ResolveRequest& resolve) {
  std::string bytes;
  AppendWire(&bytes, TransactionResolveWire{ToWire(resolve.id), resolve.commit ? 1u : 0u});
  return bytes;
}

absl::StatusOr<ResolveRequest> ParseResolve(absl::string_view request) {
  TransactionResolveWire wire;
  if (!TakeWhole(request, &wire)) return Invalid("a decision of another length");
  if (wire.id.process_id == 0 || wire.commit > 1) return Invalid("a decision that makes no sense");
  return ResolveRequest{FromWire(wire.id), wire.commit == 1};
}

}  // namespace acre::kvs
