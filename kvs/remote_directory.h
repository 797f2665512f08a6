// RemoteDirectory: where a server keeps its records, as whoever reads or writes them through the fabric has learnt
// from the headers of its regions. And how such READs are made.
//
// Threads:   any; immutable. The functions below: the port's.
// Ownership: shared by the readers and writers of one connection.

#ifndef ACRE_KVS_REMOTE_DIRECTORY_H_
#define ACRE_KVS_REMOTE_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/bucket.h"
#include "kvs/key_share.h"
#include "kvs/landing.h"
#include "kvs/reader.h"
#include "kvs/segment_layout.h"
#include "runtime/task.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::kvs {

struct RemoteSegment {
  uint32_t region_id = 0;
  transport::RemoteKey key;  // To READ.
  SegmentLayout layout;
};

class RemoteDirectory {
 public:
  // READs and judges the layout of every region that the server named, through a landing of at least a line.
  // `share`: the keys that the server holds.
  // Errors: DataLoss - it makes no sense. Unavailable, DeadlineExceeded - of the READs.
  static Task<absl::StatusOr<std::shared_ptr<const RemoteDirectory>>> Read(
      transport::Port* port, transport::QueuePair* queue_pair, LandingPool* landings,
      std::vector<RegionEntry> regions, KeyShare share, uint64_t deadline_ns);

  absl::Span<const RemoteSegment> segments() const { return segments_; }
  const KeyShare& share() const { return share_; }
  // Of a key that the server holds.
  const RemoteSegment& SegmentOf(uint64_t hash) const {
    return segments_[share_.SegmentOf(hash, segments_.size())];
  }

 private:
  explicit RemoteDirectory(const KeyShare& share) : share_(share) {}

  const KeyShare share_;
  std::vector<RemoteSegment> segments_;
};

// A home bucket and the next one: where a key is, if it is in no chain.
constexpr uint32_t kPairBytes = 2 * kBucketBytes;

// What became of a READ; nullopt: its deadline passed. OK, DeadlineExceeded, Unavailable.
absl::Status ReadStatus(absl::optional<transport::CompletionStatus> status);
// READs and waits: at once, where the provider can. Errors as ReadStatus().
Task<absl::Status> ReadUntil(transport::Port* port, transport::QueuePair* queue_pair,
                             transport::WorkRequest request, uint64_t deadline_ns);
// Waits for a landing while all are taken by others. DeadlineExceeded.
Task<absl::StatusOr<LandingPool::Landing>> TakeLandingUntil(LandingPool* pool, Scheduler* scheduler,
                                                            uint64_t deadline_ns);

}  // namespace acre::kvs

#endif  // ACRE_KVS_REMOTE_DIRECTORY_H_
