// What coordinators of transactions and their homes say to each other, and homes among themselves
// (docs/transactions.md). Specified in docs/wire.md, section "Transactions".
//
// Calls (kvs/wire.h, Method):
//   kTransactionLock      LOCK. Response: a vote.
//   kTransactionAtOnce    all of a transaction that has no other home. Response: a vote; yes: it is committed.
//   kTransactionHold      takes buckets' locks, waiting, before the transaction runs again. No response.
//   kTransactionPromise   a home, or a coordinator that lost a home, asks what became of a transaction. Response: an
//                         outcome, never kLocked.
//   kTransactionResolve   the end of a transaction, told by a home that found it out. No response.
//   kTransactionClose     this coordinator is over: take nothing more of it. OK once nothing of it is open there.
//   kTransactions         text for operators: what is open, and whom it waits for. No request.
//   kTransactionEnd       an operator's decision. No response.
// Notices (transport/rpc.h):
//   kTransactionCommit, kTransactionAbort, kTransactionRelease (of a hold; `sequence` is its number): a TransactionNotice.
//   kTransactionContended a key of the home, 1 to kContendedKeyBytesMax of its first bytes: what a transaction had read of
//                         it did not stand any more, for ContendedKeys.
//
// Little-endian, no padding; reserved fields zero and refused otherwise; a number never reused. The Parse functions
// judge bytes and nothing else: InvalidArgument says what is wrong. Views point into the bytes that were given.

#ifndef ACRE_KVS_TRANSACTION_WIRE_H_
#define ACRE_KVS_TRANSACTION_WIRE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/read_mark.h"
#include "kvs/transaction_home.h"
#include "kvs/transaction_id.h"
#include "kvs/write_plan.h"
#include "transport/rpc.h"

namespace acre::kvs {

static_assert(std::endian::native == std::endian::little);

// Homes of one transaction; reads that kTransactionAtOnce carries, and misses, each. Keys of a hold:
// kTransactionHoldKeysMax.
constexpr size_t kTransactionHomesMax = 64;
constexpr size_t kTransactionReadsMax = 1024;
constexpr size_t kContendedKeyBytesMax = 64;

struct TransactionIdWire {
  uint64_t view;
  uint32_t process_id;  // Not 0.
  uint32_t thread;
  uint64_t sequence;
};
static_assert(sizeof(TransactionIdWire) == 24);
static_assert(std::has_unique_object_representations_v<TransactionIdWire>, "hidden padding");

// Of what TransactionId::ToString() says, with or without its first word. nullopt: it is none.
absl::optional<TransactionId> ParseTransactionName(absl::string_view name);

// ---- Notices.
struct TransactionNotice {
  TransactionIdWire id;
  uint64_t finished_below;  // TransactionHome::Truncate.
};
static_assert(sizeof(TransactionNotice) == 32);
std::string EncodeNotice(const TransactionId& id, uint64_t finished_below);
struct ParsedNotice {
  TransactionId id;
  uint64_t finished_below = 0;
};
absl::StatusOr<ParsedNotice> ParseNotice(absl::string_view notice);

// ---- kTransactionLock, kTransactionAtOnce: this; participants; marks of misses; marks of reads (AtOnce only, else
// none); then for each write its header, key and value.
struct TransactionHeader {
  TransactionIdWire id;
  uint64_t finished_below;
  uint64_t hold;  // Its number; 0: none.
  uint16_t participants_count;
  uint16_t misses_count;
  uint16_t reads_count;
  uint16_t writes_count;  // At least 1.
};
static_assert(sizeof(TransactionHeader) == 48);
static_assert(std::has_unique_object_representations_v<TransactionHeader>, "hidden padding");

struct TransactionParticipantWire {
  uint32_t server_index;
  uint32_t reserved0;
  uint64_t incarnation;
};
static_assert(sizeof(TransactionParticipantWire) == 16);

struct ReadMarkWire {
  uint64_t word;  // GlobalAddress.
  uint64_t bits;
};
static_assert(sizeof(ReadMarkWire) == 16);

struct TransactionWriteWire {
  ReadMarkWire mark;  // Zeros with kNothing.
  uint32_t value_bytes;
  uint16_t key_bytes;
  uint8_t kind;
  uint8_t expect;
};
static_assert(sizeof(TransactionWriteWire) == 24);
static_assert(std::has_unique_object_representations_v<TransactionWriteWire>, "hidden padding");

struct TransactionRequest {
  TransactionId id;
  uint64_t finished_below = 0;
  absl::optional<uint64_t> hold;
  std::vector<TransactionParticipant> participants;
  std::vector<ReadMark> misses;
  std::vector<ReadMark> reads;
  std::vector<TransactionWrite> writes;
};
// How many bytes a write takes in a request.
constexpr size_t TransactionWriteBytes(absl::string_view key, absl::string_view value) {
  return sizeof(TransactionWriteWire) + key.size() + value.size();
}
// Replaces *request, whose memory is reused. False: longer than transport::kRpcBytesMax.
[[nodiscard]] bool EncodeTransaction(const TransactionId& id, uint64_t finished_below,
                                     absl::optional<uint64_t> hold,
                                     absl::Span<const TransactionParticipant> participants,
                                     absl::Span<const ReadMark> misses,
                                     absl::Span<const ReadMark> reads,
                                     absl::Span<const TransactionWrite> writes,
                                     std::string* request);
// Replaces *parsed, whose memory is reused. What is within limits of numbers and lengths; keys, values and marks are
// TransactionHome's to judge.
[[nodiscard]] absl::Status ParseTransaction(absl::string_view request, TransactionRequest* parsed);

// A vote: this, and the text of its status.
struct TransactionVoteWire {
  uint32_t answer;  // TransactionVote::Answer.
  uint32_t index;
  uint32_t status_code;  // absl::StatusCode. 0 but with kNoMemory and kInvalid.
  uint32_t has_winner;   // 0: the next is zeros.
  TransactionIdWire winner;
};
static_assert(sizeof(TransactionVoteWire) == 40);
static_assert(std::has_unique_object_representations_v<TransactionVoteWire>, "hidden padding");
void EncodeVote(const TransactionVote& vote, std::string* response);
absl::StatusOr<TransactionVote> ParseVote(absl::string_view response);

// ---- kTransactionHold: this, then for each key its length (uint16_t) and its bytes.
struct TransactionHoldHeader {
  TransactionIdWire hold;  // `sequence`: its number, not 0.
  uint64_t wait_ns;        // At most so long: else DeadlineExceeded, and nothing is held.
  uint32_t keys_count;     // At least 1.
  uint32_t reserved0;
};
static_assert(sizeof(TransactionHoldHeader) == 40);
static_assert(std::has_unique_object_representations_v<TransactionHoldHeader>, "hidden padding");
struct HoldRequest {
  TransactionThread thread;
  uint64_t number = 0;
  uint64_t wait_ns = 0;
  std::vector<absl::string_view> keys;
};
// Requires: 1 to kTransactionHoldKeysMax keys within limits.
void EncodeHold(const TransactionThread& thread, uint64_t number, uint64_t wait_ns,
                absl::Span<const absl::string_view> keys, std::string* request);
absl::StatusOr<HoldRequest> ParseHold(absl::string_view request);

// ---- kTransactionPromise: a TransactionIdWire. Response:
struct TransactionOutcomeWire {
  uint64_t outcome;  // TransactionOutcome.
};
static_assert(sizeof(TransactionOutcomeWire) == 8);
std::string EncodeId(const TransactionId& id);
absl::StatusOr<TransactionId> ParseId(absl::string_view request);
std::string EncodeOutcome(TransactionOutcome outcome);
absl::StatusOr<TransactionOutcome> ParseOutcome(absl::string_view response);

// ---- kTransactionResolve, kTransactionEnd.
struct TransactionResolveWire {
  TransactionIdWire id;
  uint64_t commit;  // 0 or 1.
};
static_assert(sizeof(TransactionResolveWire) == 32);
struct ResolveRequest {
  TransactionId id;
  bool commit = false;
};
std::string EncodeResolve(const ResolveRequest& resolve);
absl::StatusOr<ResolveRequest> ParseResolve(absl::string_view request);

// ---- kTransactionClose: a TransactionIdWire with sequence 0: EncodeId(), ParseId().

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_WIRE_H_
