#include "client/backend.h"

namespace acre {
namespace {

absl::Status NoLocks() {
  return absl::UnimplementedError(
      "locks by name go over a fabric, and path tcp has none: use another path");
}

}  // namespace

Task<absl::StatusOr<uint64_t>> Backend::Lock(absl::string_view /*name*/, uint64_t /*ticket*/,
                                             uint64_t /*wait_ns*/, uint64_t /*deadline_ns*/) {
  co_return NoLocks();
}

Task<absl::Status> Backend::Unlock(uint64_t /*ticket*/, uint64_t /*deadline_ns*/) {
  co_return NoLocks();
}

Task<absl::StatusOr<std::string>> Backend::Locks(uint64_t /*deadline_ns*/) { co_return NoLocks(); }

Task<absl::Status> Backend::ForceUnlock(absl::string_view /*name*/, uint64_t /*token*/,
                                        uint64_t /*deadline_ns*/) {
  co_return NoLocks();
}

Task<absl::Status> Backend::Call(kvs::Method /*method*/, absl::string_view /*request*/,
                                 std::string* /*response*/, uint64_t /*deadline_ns*/) {
  co_return absl::UnimplementedError(
      "this goes over a fabric, and path tcp has none: use another path");
}

}  // namespace acre
