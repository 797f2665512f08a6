#include "kvs/key_share.h"

#include "absl/strings/str_cat.h"

namespace acre::kvs {

absl::Status NotOurKey(const KeyShare& share, uint64_t hash) {
  return absl::OutOfRangeError(absl::StrCat(
      "the key belongs to server ", KeyShare::ServerIndex(hash, share.servers_count) + 1, " of ",
      share.servers_count, ", and this is server ", share.server_index + 1));
}

}  // namespace acre::kvs
