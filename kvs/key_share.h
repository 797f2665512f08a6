// KeyShare: which of all keys a server of a cluster holds, and in which of its segments.
//
// Every server holds an equal share of the hashes, in the order of the servers' numbers, and cuts its share
// into as many equal parts as it has segments. So the directory of the table is the concatenation of the
// servers' directories, and to know whose a key is takes nothing but the number of servers. The rule is part
// of the format: all peers must agree (docs/cluster.md).

#ifndef ACRE_KVS_KEY_SHARE_H_
#define ACRE_KVS_KEY_SHARE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kvs/hash.h"

namespace acre::kvs {

struct KeyShare {
  uint64_t servers_count = 1;
  uint64_t server_index = 0;  // The server's number, less one.

  // The index of the server that holds a key. Of one server: 0.
  static uint64_t ServerIndex(uint64_t hash, uint64_t servers_count) {
    return SegmentIndex(hash, servers_count);
  }
  bool Holds(uint64_t hash) const { return ServerIndex(hash, servers_count) == server_index; }
  // Which of the server's segments. With S segments on each of n servers this is segment
  // SegmentIndex(hash, n * S) of the whole table. Of a key that is not its own: any.
  uint64_t SegmentOf(uint64_t hash, uint64_t segments_count) const {
    const uint64_t rest = (hash >> 40) * servers_count & 0xffffff;
    return (rest * segments_count) >> 24;
  }
};

// OutOfRange: what everybody answers for a key that is another server's. It never means that there is no such
// record: who asked has an old directory.
absl::Status NotOurKey(const KeyShare& share, uint64_t hash);

}  // namespace acre::kvs

#endif  // ACRE_KVS_KEY_SHARE_H_
