// ContendedKeys: the keys of a server that transactions meet at most often, for people (`kv_cli stats`): a sketch
// of fixed size over the stream of conflicts, "Space-Saving" of Metwally, Agrawal and El Abbadi ("Efficient
// computation of frequent and top-k elements in data streams", ICDT 2005). A key that has no counter takes over the
// one with the lowest count, with that count as its error.
//
// Guarantees: of each counter that is told, count - error <= conflicts of the key <= count. A key with more than
//             conflicts() / kCounters conflicts has a counter. No error is above conflicts() / kCounters.
// Nothing is forgotten over time: whoever asks twice sees by the difference what is contended now, and the
// guarantees hold of all that was ever reported, which a halving would blur.
//
// Threads:    any. A mutex: taken on conflicts alone, whose loser has to run again, and for a scan of 4 KiB at most.
// Limits:     keys are told apart, and kept, by their first kKeyBytesMax bytes.

#ifndef ACRE_KVS_CONTENDED_KEYS_H_
#define ACRE_KVS_CONTENDED_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "runtime/mutex.h"

namespace acre::kvs {

class ContendedKeys {
 public:
  static constexpr size_t kCounters = 64;
  static constexpr size_t kKeyBytesMax = 64;

  struct Counter {
    std::string
        key;  // Its first kKeyBytesMax bytes, as they are: escape them where they are printed.
    uint64_t count = 0;  // Conflicts, `error` of which may have been other keys'.
    uint64_t error = 0;
  };

  // A transaction lost at this key.
  void Report(absl::string_view key);
  // The `n` highest counts, the highest first; of equal ones that with the lower error first.
  std::vector<Counter> Top(size_t n) const;
  // All that were reported.
  uint64_t conflicts() const;

 private:
  mutable Mutex mutex_;
  std::vector<Counter> counters_ ABSL_GUARDED_BY(mutex_);  // kCounters at most. In no order.
  uint64_t conflicts_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_CONTENDED_KEYS_H_
