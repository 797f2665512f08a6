// RemoteDescriptors: a process's descriptors for the remote cohorts of one home's locks, in memory of its own
// that its peers write (docs/alock.md): a waiter spins here and sends nothing. And what this process has to say
// when the home repairs a queue in which a neighbour died: the answers to M1 to M5.
//
// Threads:   any. A descriptor belongs to the thread that claimed it, which drives its acquisitions; answers are
//            given from any other thread meanwhile, whatever that one does. What the two decide on, whether an
//            acquisition has been granted and whom it hands on to, is decided under the descriptor's mutex.
// Ownership: owns its region. One set for each incarnation of a home: when the home is lost the set goes, and
//            whoever still writes here finds a key that is no more.

#ifndef ACRE_LOCK_REMOTE_DESCRIPTORS_H_
#define ACRE_LOCK_REMOTE_DESCRIPTORS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
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
  // Its acquisition has left, and its grant did not reach its successor. The home finds that successor's pred in this
  // word's intent, which the next acquisition would overwrite: so there is none.
  void Spoil(RemoteWord word);
  // It must not be used again: something may still land in it, or its intent must stay.
  bool IsSpoilt(RemoteWord word);

  // ---- For the thread that drives the acquisition `word`.

  // A1.
  void Begin(RemoteWord word);
  // It leads, or has taken its grant: nobody grants it anything any more.
  void SetGranted(RemoteWord word);
  // A5. What it was granted, once it has been: then also SetGranted().
  absl::optional<uint32_t> TakeGrant(RemoteWord word);
  // Whom it would hand on to now; null: nobody yet. Sets *try_again if the home has said that there is nobody after
  // all, once: then R1 once more.
  RemoteWord Successor(RemoteWord word, bool* try_again);
  // R3 begins: whom to grant; null: nobody yet. It has left.
  RemoteWord TakeSuccessor(RemoteWord word);
  // R1 has succeeded, or it was never in the queue.
  void SetLeft(RemoteWord word);
  // A4 and R3 among threads of this process. No effect if `to` has moved on.
  void Link(RemoteWord to, RemoteWord successor);
  void Grant(RemoteWord to, LockGrant grant);

  // ---- What the home asks and says of one of our acquisitions while it repairs a queue. `dead`: ids of processes
  // that are dead; whoever calls has closed its queue pairs with them, so that nothing of theirs lands here any
  // more.

  // M1. Ignore whoever is dead as your successor, and hand on to nobody before M3 or M4. False: it has left.
  [[nodiscard]] bool StandBy(RemoteWord word, absl::Span<const uint32_t> dead);
  // M3. Your successor is this one; null: you have none (M4). No effect if it has left.
  void SetSuccessor(RemoteWord word, RemoteWord successor);
  // M5. Whether it has a grant, or is over.
  bool HasGrant(RemoteWord word);
  // Whether that acquisition is over.
  bool HasLeft(RemoteWord word);
  // M5. A grant of leadership, unless it has one. A predecessor that is alive, and had been told its name by an
  // earlier repair, may have one on its way that lands later: leadership is always safe to have, and the
  // descriptor is spoilt, for good: a process that outlives thousands of dead predecessors has none left.
  void GrantLeadership(RemoteWord word);

 private:
  // What has become of an acquisition.
  enum class Stage : uint8_t { kQueued, kGranted, kLeft };
  struct Side {
    Mutex mutex;
    RemoteWord word ABSL_GUARDED_BY(mutex);
    Stage stage ABSL_GUARDED_BY(mutex) = Stage::kLeft;
    bool stands_by ABSL_GUARDED_BY(mutex) = false;  // Between M1 and M3 or M4.
    bool try_again ABSL_GUARDED_BY(mutex) = false;  // M4 came: R1 once more.
    bool is_spoilt ABSL_GUARDED_BY(mutex) = false;
    uint64_t ignored_next ABSL_GUARDED_BY(mutex) = 0;  // What a dead successor had linked.
    RemoteWord told_next ABSL_GUARDED_BY(mutex);       // M3's successor.
  };

  RemoteDescriptors(std::unique_ptr<transport::MemoryRegion> region, uint32_t process_id,
                    uint32_t count);
  RemoteDescriptor* DescriptorOf(RemoteWord word) const;
  // Of a word that need not be ours: null.
  Side* Find(RemoteWord word);
  bool HasGrant(const Side& side, RemoteWord word) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(side.mutex);
  RemoteWord SuccessorOf(const Side& side) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(side.mutex);

  const std::unique_ptr<transport::MemoryRegion> region_;
  const uint32_t process_id_;
  const uint32_t count_;
  const std::unique_ptr<Side[]> sides_;
  Mutex mutex_;
  std::vector<RemoteWord> free_ ABSL_GUARDED_BY(mutex_);  // Of their next acquisitions.
};

}  // namespace acre

#endif  // ACRE_LOCK_REMOTE_DESCRIPTORS_H_
