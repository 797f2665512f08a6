// What two kv_doctors say to each other, by RPC on a channel of the project's own handshake.
// Specified in docs/wire.md, section "kv_doctor".
//
// Numbers little-endian, no padding, a number never reused. The Parse functions judge bytes and nothing else:
// InvalidArgument.

#ifndef ACRE_SERVER_DOCTOR_PAIR_WIRE_H_
#define ACRE_SERVER_DOCTOR_PAIR_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transport/fabric.h"

namespace acre::doctor {

// In the place of a memory layout's version in the handshake, where no kv_server has such a number: a
// doctor who meets a server is refused, and the other way round.
constexpr uint32_t kDoctorLayout = 0x444f4301;  // "DOC", and the version of what is below.

// The area that a side may WRITE and READ at the other.
constexpr uint32_t kPairBytes = 1 << 20;

enum class PairMethod : uint16_t {
  kIntroduce = 1,  // Empty. Answer: Introduction.
  kLend = 2,       // Empty. Answer: AreaWire, an area of the answerer's, for this connection.
  kTry = 3,        // AreaWire of the caller's: the answerer tries it out. Answer: TrialWire.
};

// Who answers: the machine's boot, to tell whether the two are on one, and its fabrics.
struct Introduction {
  std::string boot_id;
  std::vector<std::string> fabrics;
};
std::string EncodeIntroduction(const Introduction& introduction);
absl::StatusOr<Introduction> ParseIntroduction(absl::string_view bytes);

// kPairBytes that start at `offset_bytes`, with the right to READ and WRITE.
struct AreaWire {
  uint64_t key;  // RemoteKey. Never 0.
  uint64_t offset_bytes;
};
static_assert(sizeof(AreaWire) == 16);
static_assert(std::has_unique_object_representations_v<AreaWire>, "hidden padding");
absl::StatusOr<AreaWire> ParseArea(absl::string_view bytes);

// What a side measured towards the other.
struct TrialWire {
  uint64_t round_trip_ns;           // Median of 8-byte READs, one at a time.
  uint64_t write_bytes_per_second;  // Of kPairBytes in some requests at once.
  uint64_t read_bytes_per_second;
};
static_assert(sizeof(TrialWire) == 24);
static_assert(std::has_unique_object_representations_v<TrialWire>, "hidden padding");
absl::StatusOr<TrialWire> ParseTrial(absl::string_view bytes);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_PAIR_WIRE_H_
