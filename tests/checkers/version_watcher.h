// VersionWatcher: versions rise. It looks at a segment again and again while a test goes on, and
// tells of every version that fell, or stood still while what it stands for changed:
//   - of a slot: with the same version, the same line;
//   - of a key: across moves, and across deletion and return; with the same version, the same value in
//     the same slot;
//   - of a home's structure; of a main bucket's floor.
//
// A scan may come at any moment, also when a writer was stopped in the middle of a change: what is
// odd, and keys whose home is odd, are passed over until a later scan. But nobody is at work during
// the scan. What changes twice between two scans is seen once.
//
// Threads: one.

#ifndef ACRE_TESTS_CHECKERS_VERSION_WATCHER_H_
#define ACRE_TESTS_CHECKERS_VERSION_WATCHER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "kvs/segment.h"
#include "kvs/slot.h"

namespace acre::checkers {

class VersionWatcher {
 public:
  // One incarnation of one segment. Gives what is wrong, a line each; empty: nothing.
  std::vector<std::string> Scan(kvs::Segment* segment);

  // What a scan is made of, for who watches by other means. `place` names the slot. "" or what is wrong.
  std::string ObserveKey(absl::string_view key, uint64_t version, uint64_t place,
                         absl::string_view value);
  std::string ObserveSlot(uint64_t place, const kvs::SlotCopy& copy);

 private:
  struct KeySeen {
    uint64_t version = 0;
    uint64_t place = 0;
    std::string value;
  };
  std::string ObserveRising(uint64_t place, uint64_t value);

  absl::flat_hash_map<std::string, KeySeen> keys_;
  absl::flat_hash_map<uint64_t, kvs::SlotCopy> slots_;  // By the offset in the region.
  absl::flat_hash_map<uint64_t, uint64_t> rising_;      // Structure versions and floors, likewise.
};

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_VERSION_WATCHER_H_
