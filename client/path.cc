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

absl::StatusOr<PutPath> ParsePutPath(absl::string_view name) {
  for (const PutPath path : {PutPath::kAuto, PutPath::kRpc, PutPath::kOneSided}) {
    if (name == PutPathName(path)) return path;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no way to put \"", name, "\": use auto, rpc or one_sided"));
}

const char* PutPathName(PutPath path) {
  switch (path) {
    case PutPath::kAuto:
      return "auto";
    case PutPath::kRpc:
      return "rpc";
    case PutPath::kOneSided:
      return "one_sided";
  }
  return "unknown";
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
