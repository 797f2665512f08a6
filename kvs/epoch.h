// Epochs: when the memory of a freed object may be used again.
//
// The server's clock of epochs rises with every Tick(). Each client announces, by one WRITE into a
// word of its channel's region, the epoch that it saw before the operation that it is in. An object
// that was freed in epoch e is reused when every client has announced more than e. A client that
// has announced nothing for a lease is left out: that is safe, because a reader checks an object's
// checksum, and only costs it a retry.
//
// Source: epoch-based reclamation (Fraser 2004, section 5.2.3), with FaRM's readers (NSDI'14,
// section 4).

#ifndef ACRE_KVS_EPOCH_H_
#define ACRE_KVS_EPOCH_H_

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "runtime/mutex.h"
#include "runtime/shared_word.h"

namespace acre::kvs {

class EpochClock {
 public:
  EpochClock();

  // The current epoch, from 1. Any thread.
  uint64_t Now() const { return now_.Load(std::memory_order_acquire); }
  // Objects freed in an epoch below this may be reused. Any thread.
  uint64_t SafeBefore() const { return safe_before_.Load(std::memory_order_acquire); }

  // A client's word (transport::Channel::peer_words() + kEpochPeerWord). It stays readable until
  // Remove().
  void Add(const SharedWord* announced, uint64_t now_ns);
  void Remove(const SharedWord* announced);

  // Moves on: call it every lease / 5 from one thread. Publishes the new epoch through `headers`,
  // the epoch words of the data regions' headers, where clients see it.
  void Tick(uint64_t now_ns, uint64_t lease_ns, SharedWord* const* headers, size_t headers_count);

 private:
  struct Client {
    const SharedWord* announced;
    uint64_t last_value;
    uint64_t changed_ns;
  };
  SharedWord now_;          // Written by Tick alone.
  SharedWord safe_before_;  // Likewise.
  Mutex mutex_;
  std::vector<Client> clients_ ABSL_GUARDED_BY(mutex_);
};

// Which of Channel::peer_words() is the client's epoch.
constexpr size_t kEpochPeerWord = 0;

}  // namespace acre::kvs

#endif  // ACRE_KVS_EPOCH_H_
