// Sizes as people write them.

#ifndef ACRE_SERVER_SIZE_H_
#define ACRE_SERVER_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre::server {

// A number with K, M or G behind it, either case, or none: "2G" is 2 GiB.
// InvalidArgument: says how it should look.
absl::StatusOr<uint64_t> ParseSize(absl::string_view text);

// The other way, exactly or with one decimal: "2 GiB", "1.5 GiB".
std::string FormatSize(uint64_t bytes);

}  // namespace acre::server

#endif  // ACRE_SERVER_SIZE_H_
