// The records of kv_verify: how its keys are called, and how a list or a register lies in the
// store.
//
//   PREFIX/EPOCH/l7    list 7        PREFIX/EPOCH/l7b   its other place, if it is one that moves
//   PREFIX/EPOCH/r3    register 3
//
// A value is a tag of 4 bytes, which no other key has (but by chance), and then numbers of 4 bytes,
// little-endian: a list's elements, or a register's value and padding that repeats it. A fresh list
// lies in the index, and out of line when it has grown; registers are of 8 B, 100 B and 5000 B.
// Bytes that are none of this are told as kUnreadable, which nobody writes: the checker makes a
// garbage-read of it.

#ifndef ACRE_CLIENT_VERIFY_RECORD_H_
#define ACRE_CLIENT_VERIFY_RECORD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/verify/plan.h"

namespace acre::verify {

// What is told of a record that is none of its key.
constexpr int32_t kUnreadable = -1;
// What is told of a list that is in both its places.
constexpr int32_t kInBothPlaces = -2;

// Names of the keys of one epoch.
struct Epoch {
  std::string prefix;
  uint32_t number = 0;
};
// `other_place`: of a list that moves.
std::string KeyName(const Epoch& epoch, const KeyId& key, bool other_place = false);

void EncodeList(const Epoch& epoch, const KeyId& key, const std::vector<int32_t>& elements,
                std::string* value);
void EncodeRegister(const Epoch& epoch, const KeyId& key, int32_t number, std::string* value);
// Both replace *numbers: of a register it is one.
void Decode(const Epoch& epoch, const KeyId& key, absl::string_view value,
            std::vector<int32_t>* numbers);

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_RECORD_H_
