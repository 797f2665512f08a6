// RemoteDescriptors: a process's descriptors for the remote cohorts of one home's locks, in memory of its own
// that its peers write (docs/alock.md): a waiter spins here and sends nothing.
//
// Threads:   any. A descriptor belongs to the thread that claimed it.
// Ownership: owns its region. One set for each incarnation of a home: when the home is lost the set goes, and
//            whoever still writes here finds a key that is no more.

#ifndef ACRE_LOCK_REMOTE_DESCRIPTORS_H_
#define ACRE_LOCK_REMOTE_DESCRIPTORS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "lock/lock_words.h"
#include "runtime/mutex.h"
#include "transport/fabric.h"
#include "transport/region_header.h"

namespace acre {

// What its owner and the neighbours in the queue write. Peers' bytes are judged.
struct RemoteDescriptor {
  SharedWord
      grant;  // LockGrant. Reset by its owner before A3; WRITTEN once by its predecessor (R3).
  SharedWord next;         // RemoteWord, 0: none yet. Likewise, by its successor (A4).
  SharedWord reserved[6];  // Zero: its own line, so that neighbours do not disturb the waiter.
};
static_assert(sizeof(RemoteDescriptor) == kLineBytes);

class RemoteDescriptors {
 public:
  // `process_id`: ours, at that home. The errors of Fabric::CreateRegion.
  static absl::StatusOr<std::unique_ptr<RemoteDescriptors>> Create(transport::Fabric* fabric,
                                                                   uint32_t region_id,
                                                                   uint32_t process_id,
                                                                   uint32_t descriptors_count);

  uint32_t process_id() const { return process_id_; }
  uint32_t descriptors_count() const { return count_; }
  // For peers: WRITE on the region, of which this lies at these offsets.
  const transport::MemoryRegion& region() const { return *region_; }
  static uint64_t GrantOffset(RemoteWord word) {
    return transport::kRegionHeaderBytes + uint64_t{word.index()} * kLineBytes;
  }
  static uint64_t NextOffset(RemoteWord word) { return GrantOffset(word) + kWordBytes; }

  // Claims one. Returns the word of its next acquisition; null: all are taken.
  RemoteWord Claim();
  // Gives it back, with the word of its last acquisition. It is in no queue.
  void Free(RemoteWord word);
  // Of a word of ours.
  RemoteDescriptor* Find(RemoteWord word) const;

 private:
  RemoteDescriptors(std::unique_ptr<transport::MemoryRegion> region, uint32_t process_id,
                    uint32_t count);

  const std::unique_ptr<transport::MemoryRegion> region_;
  const uint32_t process_id_;
  const uint32_t count_;
  Mutex mutex_;
  std::vector<RemoteWord> free_ ABSL_GUARDED_BY(mutex_);  // Of their next acquisitions.
};

}  // namespace acre

#endif  // ACRE_LOCK_REMOTE_DESCRIPTORS_H_
