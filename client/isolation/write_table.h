// WriteTable: who wrote which value to which key.

#ifndef ACRE_CLIENT_ISOLATION_WRITE_TABLE_H_
#define ACRE_CLIENT_ISOLATION_WRITE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/isolation/history.h"

namespace acre::isolation {

// In place of a write's number.
constexpr uint32_t kNoWrite = ~uint32_t{0};

struct Write {
  uint32_t transaction = 0;
  uint32_t op = 0;
  bool is_last = true;        // Of its transaction, to this key.
  uint32_t prior = kNoWrite;  // The one before it of its transaction, to this key.
};

class WriteTable {
 public:
  // `history` outlives it. InvalidArgument: see Check() in checker.h.
  static absl::StatusOr<WriteTable> Of(const History& history);

  size_t size() const { return writes_.size(); }
  const Write& operator[](uint32_t number) const { return writes_[number]; }

  // The number of the write of `value` to `key`, or kNoWrite.
  uint32_t Find(uint32_t key, int64_t value) const {
    const auto found = numbers_.find({key, value});
    return found == numbers_.end() ? kNoWrite : found->second;
  }
  // Numbers of all writes to `key`; those of one transaction lie together.
  absl::Span<const uint32_t> To(uint32_t key) const {
    return absl::MakeConstSpan(by_key_).subspan(begins_[key], begins_[key + 1] - begins_[key]);
  }
  bool IsList(uint32_t key) const { return is_list_[key] == 1; }

 private:
  absl::Status Add(const History& history, uint32_t transaction);

  std::vector<Write> writes_;
  absl::flat_hash_map<std::pair<uint32_t, int64_t>, uint32_t> numbers_;
  std::vector<size_t> begins_;
  std::vector<uint32_t> by_key_;
  std::vector<int8_t> is_list_;  // Of each key: 1, 0 if it is a register, -1 if nothing tells.
  std::vector<uint32_t> last_of_key_;  // While it is filled: the last write to each key.
};

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_WRITE_TABLE_H_
