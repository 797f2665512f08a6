// Names of the paths.

#include "absl/strings/str_cat.h"
#include "client/client.h"

namespace acre {

absl::StatusOr<Path> ParsePath(absl::string_view name) {
  for (const Path path : {Path::kAuto, Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp}) {
    if (name == PathName(path)) return path;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no path \"", name, "\": use auto, mapped, one_sided, rpc or tcp"));
}

const char* PathName(Path path) {
  switch (path) {
    case Path::kAuto:
      return "auto";
    case Path::kMapped:
      return "mapped";
    case Path::kOneSided:
      return "one_sided";
    case Path::kRpc:
      return "rpc";
    case Path::kTcp:
      return "tcp";
  }
  return "unknown";
}

}  // namespace acre
