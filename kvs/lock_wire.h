// What clients that take the locks of buckets by themselves and their home say to each other beside the fabric
// (docs/updates.md). Specified in docs/wire.md, section "Locks of buckets".
//
// Each such client has two connections to the home. On the one of its service thread, a control connection, it joins,
// and then the home asks (LockControl). On the one of the thread that takes locks it asks for keys and for the
// others' addresses (kvs/wire.h: kLockIntents, kLockRegions, kLockPeer, kLockPeerLost).
//
// Little-endian, no padding; reserved fields zero and refused otherwise; a number never reused. The Parse functions
// judge bytes and nothing else: InvalidArgument says what is wrong. Views point into the bytes that were given.

#ifndef ACRE_KVS_LOCK_WIRE_H_
#define ACRE_KVS_LOCK_WIRE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "lock/lock_intent.h"
#include "lock/lock_regions.h"
#include "lock/lock_words.h"
#include "lock/peer_wire.h"
#include "transport/fabric.h"

namespace acre::kvs {

static_assert(std::endian::native == std::endian::little);

// Methods on a control connection.
enum class LockControl : uint16_t {
  kJoin = 1,     // The client asks. Then the home, with LockQuestions: docs/alock.md, "Repair".
  kStandBy = 2,  // M1
  kSetSuccessor = 3,     // M3, M4
  kHasGrant = 4,         // M5
  kGrantLeadership = 5,  // M5
  kHasLeft = 6,          // Whether that acquisition is over.
};

// Unguessable, the same for all clients of a home: who shows it to another client is one of them.
using LockTicket = PeerTicket;

constexpr size_t kLockEndpointBytesMax = 112;
// Of one participant: a home looks at all of them, several times a second.
constexpr uint32_t kLockDescriptorsMax = 256;
static_assert(kLockDescriptorsMax <= RemoteWord::kDescriptorsMax);
constexpr size_t kLockDeadMax = 4096;

// ---- kJoin: this, and where other clients reach the descriptors.
struct JoinHeader {
  uint32_t descriptors_count;  // 1 to kLockDescriptorsMax.
  uint32_t reserved0;
};
static_assert(sizeof(JoinHeader) == 8);

struct JoinRequest {
  uint32_t descriptors_count = 0;
  absl::string_view endpoint;
};
std::string EncodeJoin(const JoinRequest& request);
absl::StatusOr<JoinRequest> ParseJoin(absl::string_view request);

struct JoinAnswer {
  uint32_t lock_id;  // Of this client in words of the home's locks. Never 0, never given again.
  uint32_t reserved0;
  LockTicket ticket;
};
static_assert(sizeof(JoinAnswer) == 24 && offsetof(JoinAnswer, ticket) == 8);
static_assert(std::has_unique_object_representations_v<JoinAnswer>, "hidden padding");
absl::StatusOr<JoinAnswer> ParseJoinAnswer(absl::string_view response);

// ---- A question of the home: this, and the ids of the dead, 4 bytes each.
struct LockQuestionHeader {
  uint64_t word;   // RemoteWord of the one that is asked, or told.
  uint64_t other;  // kSetSuccessor: RemoteWord. Else 0.
  uint32_t dead_count;
  uint32_t reserved0;
};
static_assert(sizeof(LockQuestionHeader) == 24);
static_assert(std::has_unique_object_representations_v<LockQuestionHeader>, "hidden padding");

struct LockQuestion {
  RemoteWord word;
  RemoteWord other;
  std::vector<uint32_t> dead;
};
// CHECKs that there are at most kLockDeadMax dead.
std::string EncodeLockQuestion(RemoteWord word, RemoteWord other, absl::Span<const uint32_t> dead);
absl::StatusOr<LockQuestion> ParseLockQuestion(absl::string_view request);

struct LockQuestionAnswer {
  uint64_t yes;  // 0 or 1.
};
static_assert(sizeof(LockQuestionAnswer) == 8);
absl::StatusOr<bool> ParseLockQuestionAnswer(absl::string_view response);

// ---- kLockIntents and then kLockRegions, on the connection that will take locks as this one.
struct LockKeysRequest {
  uint32_t lock_id;
  uint32_t reserved0;
  LockTicket ticket;
};
static_assert(sizeof(LockKeysRequest) == 24);
static_assert(std::has_unique_object_representations_v<LockKeysRequest>, "hidden padding");
absl::StatusOr<LockKeysRequest> ParseLockKeysRequest(absl::string_view request);

// Answer to the first: WRITE on the client's intents.
struct LockIntentsAnswer {
  uint64_t key;  // Never 0.
};
static_assert(sizeof(LockIntentsAnswer) == 8);
absl::StatusOr<transport::RemoteKey> ParseLockIntents(absl::string_view response);

// Answer to the second: of each region.
struct LockRegionWire {
  uint32_t region_id;
  uint32_t reserved0;
  uint64_t key;  // All rights. Never 0.
};
static_assert(sizeof(LockRegionWire) == 16);
static_assert(std::has_unique_object_representations_v<LockRegionWire>, "hidden padding");
std::string EncodeLockRegions(const LockRegionKeys& regions);
absl::StatusOr<LockRegionKeys> ParseLockRegions(absl::string_view response);

// ---- kLockPeer, kLockPeerLost.
struct LockPeerRequest {
  uint32_t lock_id;
  uint32_t reserved0;
};
static_assert(sizeof(LockPeerRequest) == 8);
absl::StatusOr<uint32_t> ParseLockPeer(absl::string_view request);

// ---- In the region of a client's intents, behind them: where it stores its lock id once none of its threads executes
// a request for this home any more, nor will. Of whoever goes without, and executes requests by its own CPU (shm),
// the home must make sure by killing it.
constexpr uint64_t LockFarewellOffset(uint32_t descriptors_count) {
  return LockIntentsBytes(descriptors_count);
}
constexpr uint64_t LockIntentsRegionBytes(uint32_t descriptors_count) {
  return LockFarewellOffset(descriptors_count) + kLineBytes;
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_LOCK_WIRE_H_
