// Limits of records, the same for every path.

#ifndef ACRE_KVS_LIMITS_H_
#define ACRE_KVS_LIMITS_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace acre::kvs {

constexpr size_t kKeyBytesMax = 4096;
constexpr size_t kValueBytesMax = 1 << 20;

// OK, or InvalidArgument with a message that names the limit and the size given.
absl::Status CheckKey(absl::string_view key);
absl::Status CheckValue(absl::string_view value);

}  // namespace acre::kvs

#endif  // ACRE_KVS_LIMITS_H_
