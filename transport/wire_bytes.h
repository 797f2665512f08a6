// Structs of a wire format to bytes and back. For messages in private memory; every struct has its size
// and padding pinned where it is defined (docs/wire.md).

#ifndef ACRE_TRANSPORT_WIRE_BYTES_H_
#define ACRE_TRANSPORT_WIRE_BYTES_H_

#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"

namespace acre::transport {

template <class T>
void AppendWire(std::string* out, const T& wire) {
  static_assert(std::is_trivially_copyable_v<T>);
  out->append(reinterpret_cast<const char*>(&wire), sizeof(wire));
}

// Takes a T off the front of *bytes. False, and nothing taken, if they are too few.
template <class T>
[[nodiscard]] bool TakeWire(absl::string_view* bytes, T* wire) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes->size() < sizeof(T)) return false;
  std::memcpy(wire, bytes->data(), sizeof(T));  // private memory
  bytes->remove_prefix(sizeof(T));
  return true;
}

// The same with `count` bytes, which stay where they are.
[[nodiscard]] inline bool TakeBytes(absl::string_view* bytes, size_t count,
                                    absl::string_view* taken) {
  if (bytes->size() < count) return false;
  *taken = bytes->substr(0, count);
  bytes->remove_prefix(count);
  return true;
}

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_WIRE_BYTES_H_
