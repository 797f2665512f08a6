// Object: a record that does not fit into a slot, in the heap of its segment.
//
// Written whole into fresh memory, then published by its slot, never changed. The slot carries a
// checksum over all of it, its stamp included; a reader copies the object, then checks. So a reader
// that comes late, and finds the memory reused, notices it, whatever the new object is: no two
// objects of a server's incarnation have the same stamp.

#ifndef ACRE_KVS_OBJECT_H_
#define ACRE_KVS_OBJECT_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "kvs/limits.h"
#include "runtime/shared_word.h"

namespace acre::kvs {

struct ObjectHeader {
  uint64_t stamp;  // Of the write that made the object.
  uint32_t value_bytes;
  uint32_t key_bytes;
};
static_assert(sizeof(ObjectHeader) == 2 * kWordBytes);

// Header, key, value, and zeros up to a whole word.
constexpr size_t ObjectBytes(size_t key_bytes, size_t value_bytes) {
  return (sizeof(ObjectHeader) + key_bytes + value_bytes + kWordBytes - 1) / kWordBytes *
         kWordBytes;
}
constexpr size_t kObjectBytesMax = ObjectBytes(kKeyBytesMax, kValueBytesMax);

// Writes an object into memory of the heap that no slot names. Returns its checksum.
uint64_t WriteObject(SharedWord* to, uint64_t stamp, absl::string_view key,
                     absl::string_view value);

// The record in a private copy of ObjectBytes() bytes, if the copy is what the slot speaks of:
// right checksum, right lengths. Views into `words`.
struct ObjectView {
  bool valid = false;
  absl::string_view key;
  absl::string_view value;
};
ObjectView ParseObject(const uint64_t* words, size_t key_bytes, size_t value_bytes,
                       uint64_t checksum);

}  // namespace acre::kvs

#endif  // ACRE_KVS_OBJECT_H_
