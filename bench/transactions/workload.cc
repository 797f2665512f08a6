#include "bench/transactions/workload.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"

namespace acre::bench {
namespace {

// How a key is laid out: little-endian, as this machine's memory is.
struct KeyBytes {
  char table;
  uint8_t filler;
  uint8_t part;
  uint8_t subpart;
  uint32_t unit;
};
static_assert(sizeof(KeyBytes) == 8);

std::string Encode(const KeyBytes& bytes) {
  return std::string(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
}

}  // namespace

size_t PickKind(const std::vector<TxnKind>& kinds, Random* random) {
  uint64_t left = random->Uniform(100);
  for (size_t kind = 0; kind < kinds.size(); ++kind) {
    if (left < kinds[kind].percent) return kind;
    left -= kinds[kind].percent;
  }
  LOG(FATAL) << "the kinds do not add up to 100 %";
}

std::string EncodeNumber(int64_t number) {
  return std::string(reinterpret_cast<const char*>(&number), sizeof(number));
}

absl::StatusOr<int64_t> ParseNumber(absl::string_view value) {
  int64_t number = 0;
  if (value.size() != sizeof(number)) {
    return absl::DataLossError(absl::StrCat("a record of ", value.size(), " bytes is no balance"));
  }
  std::memcpy(&number, value.data(), sizeof(number));
  return number;
}

std::string TxnKeys::KeyOn(uint32_t server, char table, uint32_t unit, uint8_t part,
                           uint8_t subpart) const {
  KeyBytes bytes = {.table = table, .filler = 0, .part = part, .subpart = subpart, .unit = unit};
  if (servers_count_ == 1) return Encode(bytes);
  for (int filler = 0; filler < 256; ++filler) {
    bytes.filler = static_cast<uint8_t>(filler);
    const absl::string_view key(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
    if (kvs::KeyShare::ServerIndex(kvs::HashKey(key), servers_count_) == server) {
      return std::string(key);
    }
  }
  LOG(FATAL) << "none of 256 keys is on server " << server << " of " << servers_count_;
}

std::string TxnKeys::AnyKey(char table, uint32_t unit, uint8_t part, uint8_t subpart) {
  return Encode({.table = table, .filler = 0, .part = part, .subpart = subpart, .unit = unit});
}

absl::Status JudgeChoice(const UnitChoice& choice) {
  // So that each server has two.
  const uint64_t units_min = 2 * uint64_t{choice.servers_count};
  if (choice.units_count < units_min) {
    return absl::InvalidArgumentError(absl::StrCat("--accounts=", choice.units_count, ": at least ",
                                                   units_min, ", two for each server"));
  }
  if (choice.hot_percent > 0 &&
      (choice.hot_units < units_min || choice.hot_units > choice.units_count)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--hot_keys=", choice.hot_units, ": with ", choice.servers_count, " servers and ",
        choice.units_count, " accounts from ", units_min, " to ", choice.units_count));
  }
  if (choice.servers_count == 1 && choice.distributed_percent > 0) {
    return absl::InvalidArgumentError("--distributed: one server has nothing to distribute to");
  }
  return absl::OkStatus();
}

uint32_t PickUnit(const UnitChoice& choice, Random* random) {
  const bool hot = choice.hot_percent > 0 && random->Uniform(100) < choice.hot_percent;
  return static_cast<uint32_t>(random->Uniform(hot ? choice.hot_units : choice.units_count));
}

std::pair<uint32_t, uint32_t> PickTwoUnits(const UnitChoice& choice, Random* random) {
  const bool any = choice.distributed_percent < 0;
  const bool apart =
      !any && random->Uniform(100) < static_cast<uint64_t>(choice.distributed_percent);
  const uint32_t first = PickUnit(choice, random);
  for (;;) {
    const uint32_t second = PickUnit(choice, random);
    if (second == first) continue;
    const bool are_apart = second % choice.servers_count != first % choice.servers_count;
    if (any || are_apart == apart) return {first, second};
  }
}

}  // namespace acre::bench
