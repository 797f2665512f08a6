// Calls that a client makes of a server (transport/rpc.h): method numbers and the bytes of requests
// and responses. Specified in docs/wire.md, section "Calls".
//
// Little-endian, no padding, no alignment; reserved fields zero and refused otherwise; a number
// never reused. Get, Delete and Stats need no structure: the request of the first two is the key,
// Get's response is the value, Stats answers text. Failures travel as the call's status.
//
// The Parse functions judge bytes and nothing else: InvalidArgument says what is wrong. The views
// that they give point into the bytes that they were given.

#ifndef ACRE_KVS_WIRE_H_
#define ACRE_KVS_WIRE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kvs/limits.h"
#include "transport/rpc.h"

namespace acre::kvs {

static_assert(std::endian::native == std::endian::little);

// Of everything that a client must understand in a server's memory and calls: the handshake
// compares it. Raised with any change to region headers, slots, buckets, segments or this header.
constexpr uint32_t kLayoutVersion = 4;

// In transport::ConnectedPeer::facts: the server takes part in it when a client writes by itself on this connection
// (kvs/lock_wire.h). Other bits: 0, and not looked at.
constexpr uint32_t kFactMayWrite = 1;

enum class Method : uint16_t {
  kGet = 1,
  kPut = 2,
  kDelete = 3,
  kMultiGet = 4,
  kStats = 5,
  kCluster = 6,  // kvs/cluster.h. No request.
  kLock = 7,
  kUnlock = 8,
  kLocks = 9,  // No request. Text: docs/locks.md.
  kForceUnlock = 10,
  kLockIntents = 11,  // These four: kvs/lock_wire.h.
  kLockRegions = 12,
  kLockPeer = 13,         // Response: the endpoint of a client. NotFound: it is none, or no more.
  kLockPeerLost = 14,     // No response. A client cannot reach another.
  kTransactionLock = 15,  // These: kvs/transaction_wire.h.
  kTransactionAtOnce = 16,
  kTransactionHold = 17,
  kTransactionPromise = 18,
  kTransactionResolve = 19,
  kTransactionClose = 20,
  kTransactions = 21,
  kTransactionEnd = 22,
  // Notices.
  kTransactionCommit = 23,
  kTransactionAbort = 24,
  kTransactionRelease = 25,
  kTransactionContended = 26,
};

// Request of kPut: this, the key, the value. No response.
struct PutHeader {
  uint32_t key_bytes;    // 1 to kKeyBytesMax.
  uint32_t value_bytes;  // Up to kValueBytesMax.
};
static_assert(sizeof(PutHeader) == 8 && offsetof(PutHeader, value_bytes) == 4);
static_assert(std::has_unique_object_representations_v<PutHeader>, "hidden padding");
static_assert(sizeof(PutHeader) + kKeyBytesMax + kValueBytesMax <= transport::kRpcBytesMax);

struct PutRequest {
  absl::string_view key;
  absl::string_view value;
};
// Header and key: the value is sent behind them from where it lies. Requires: both within limits.
void EncodePutHead(absl::string_view key, absl::string_view value, std::string* head);
absl::StatusOr<PutRequest> ParsePut(absl::string_view request);

// Request of kMultiGet: this, then for each key its length (uint16_t) and its bytes.
// Response: this with the number of keys that were answered, then for each a MultiGetAnswer and the
// value. A server answers the first keys, as many as fit; the client asks again for the others.
struct MultiGetHeader {
  uint32_t count;
  uint32_t reserved0;
};
static_assert(sizeof(MultiGetHeader) == 8);
static_assert(std::has_unique_object_representations_v<MultiGetHeader>, "hidden padding");

constexpr size_t kMultiGetKeysMax = 256;

struct MultiGetAnswer {
  uint32_t code;         // absl::StatusCode: OK, NotFound; others end the client's wait likewise.
  uint32_t value_bytes;  // Of an OK. Else 0.
};
static_assert(sizeof(MultiGetAnswer) == 8);
static_assert(std::has_unique_object_representations_v<MultiGetAnswer>, "hidden padding");
static_assert(sizeof(MultiGetHeader) + kMultiGetKeysMax * (sizeof(uint16_t) + kKeyBytesMax) <=
              transport::kRpcBytesMax);
static_assert(sizeof(MultiGetHeader) + sizeof(MultiGetAnswer) + kValueBytesMax <=
                  transport::kRpcBytesMax,
              "at least one answer fits, so a client that asks again makes progress");

// Requires: 1 to kMultiGetKeysMax keys within limits.
void EncodeMultiGet(absl::Span<const absl::string_view> keys, std::string* request);
// At least one key.
absl::StatusOr<std::vector<absl::string_view>> ParseMultiGet(absl::string_view request);

// Builds a response answer by answer.
class MultiGetResponse {
 public:
  // Replaces *response, which outlives this. Memory is reused.
  explicit MultiGetResponse(std::string* response);
  // False: there is no room for it, nothing was added. `value` counts with OK only.
  bool Add(absl::StatusCode code, absl::string_view value);

 private:
  std::string* response_;
  uint32_t count_ = 0;
};

struct ParsedAnswer {
  absl::StatusCode code;
  absl::string_view value;
};
// 1 to `asked` answers.
absl::StatusOr<std::vector<ParsedAnswer>> ParseMultiGetResponse(absl::string_view response,
                                                                size_t asked);

// Locks by name (docs/locks.md). A name has the limits of a key, and its server is that of a key of these bytes.
// Request of kLock: this and the name. Response: LockAnswer.
struct LockHeader {
  uint64_t ticket;   // The client's, for kUnlock. Not 0, and none that it has here already.
  uint64_t wait_ns;  // At most so long; 0: only if it is free.
};
static_assert(sizeof(LockHeader) == 16);
static_assert(std::has_unique_object_representations_v<LockHeader>, "hidden padding");

struct LockAnswer {
  uint64_t token;  // Above that of every earlier holder. 0: others had it all the time.
};
static_assert(sizeof(LockAnswer) == 8);

// Request of kUnlock, also for one that still waits. No response. NotFound: this connection has no such ticket.
struct UnlockRequest {
  uint64_t ticket;
};
static_assert(sizeof(UnlockRequest) == 8);

// Request of kForceUnlock: this and the name. No response.
struct ForceUnlockHeader {
  uint64_t token;  // Of the holder that is meant.
};
static_assert(sizeof(ForceUnlockHeader) == 8);

struct LockRequest {
  LockHeader header;
  absl::string_view name;
};
absl::StatusOr<LockRequest> ParseLock(absl::string_view request);
absl::StatusOr<UnlockRequest> ParseUnlock(absl::string_view request);
struct ForceUnlockRequest {
  ForceUnlockHeader header;
  absl::string_view name;
};
absl::StatusOr<ForceUnlockRequest> ParseForceUnlock(absl::string_view request);
absl::StatusOr<LockAnswer> ParseLockAnswer(absl::string_view response);

}  // namespace acre::kvs

#endif  // ACRE_KVS_WIRE_H_
