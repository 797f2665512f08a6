// RemoteWriter: updates a record in place through the fabric, under its bucket's lock, without the server's CPU
// (docs/updates.md). Only what is there, inline, in its home bucket or the next one, and stays inline: everything
// else is asked of the server.
//
// A whole record or none: what a writer that dies had announced (kvs/redo.h) the home finishes. Readers on every path
// see the old value or the new one.
//
// Threads:   confined to the port's.
// Ownership: borrows all that Options names but the directory. When it goes no Update() is under way, its port is
//            there, and the home's queue pair has been forgotten (Port::Forget), so that nothing of a task that was
//            destroyed still uses its memory.

#ifndef ACRE_KVS_REMOTE_WRITER_H_
#define ACRE_KVS_REMOTE_WRITER_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/bucket.h"
#include "kvs/landing.h"
#include "kvs/remote_directory.h"
#include "kvs/segment_view.h"
#include "kvs/slot.h"
#include "kvs/writer_stats.h"
#include "lock/locker.h"
#include "lock/remote_cohort.h"
#include "lock/remote_locker.h"
#include "runtime/task.h"
#include "transport/address.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::kvs {

class RemoteWriter {
 public:
  struct Options {
    transport::Fabric* fabric = nullptr;  // That of the port.
    transport::Port* port = nullptr;
    // The server, with a key of all rights for each region that may be written (`regions`, the locker's too), and our
    // intents there. Without intents, and in regions with no key, nothing is done by this path.
    const RemoteHome* home = nullptr;
    RemoteLocker* locker = nullptr;  // Of that home, of kind kALock.
    std::shared_ptr<const RemoteDirectory> directory;
    uint32_t region_id =
        0;  // For the memory that requests use: not used for anything else in this process.
  };
  // The errors of Fabric::CreateRegion.
  static absl::StatusOr<std::unique_ptr<RemoteWriter>> Create(Options options);

  // Replaces the value of a record. `key` and `value` outlive the task.
  // true: done, every reader sees the new value. false: not by this path, nothing was changed: ask the server.
  // Errors: InvalidArgument - kvs/limits.h. Unavailable - the server is gone or has given us up;
  //         DeadlineExceeded - deadline_ns (the scheduler's clock) passed: as the message says nothing was changed,
  //         or the update may or may not have happened. A task that is destroyed, likewise.
  //         DataLoss - the server's memory makes no sense: give it up.
  // However it ends the lock is given back, in the background where the deadline passed or the task was destroyed.
  Task<absl::StatusOr<bool>> Update(absl::string_view key, absl::string_view value,
                                    uint64_t deadline_ns);

  const WriterStats& stats() const { return stats_; }
  // Updates under way.
  size_t updates_under_way() const { return landings_->held_count(); }

 private:
  using Landing = LandingPool::Landing;

  // A record on its way.
  struct Target {
    LookupKey key;
    absl::string_view value;
    const RemoteSegment* segment;
    transport::RemoteKey region_key;  // With all rights.
    uint64_t home;
    uint64_t deadline_ns;

    uint64_t SlotOffsetOf(size_t position) const {
      return segment->layout.BucketOffset(home) + SlotOffset(position);
    }
    // Of the bucket in which that slot lies.
    GlobalAddress LockOf(size_t position) const {
      const uint64_t bucket = home + position / kSlotsPerBucket;
      return GlobalAddress(
          segment->region_id,
          static_cast<uint32_t>(segment->layout.BucketOffset(bucket) + offsetof(Bucket, lock)));
    }
  };
  enum class Outcome : uint8_t {
    kDone,
    kMoved,    // The slot that we locked holds something else: look again.
    kNotHere,  // Not by this path.
  };

  RemoteWriter(Options options, std::unique_ptr<LandingPool> landings);

  // Null: we may not write there.
  const transport::RemoteKey* RegionKey(uint32_t region_id) const;
  Task<absl::StatusOr<Outcome>> TryOnce(const Target* target, const Landing* landing);
  // READs the pair, and says where the record is, or may be: nullopt: not by this path.
  Task<absl::StatusOr<absl::optional<size_t>>> Find(const Target* target, const Landing* landing);
  // The slot, under its lock.
  static Outcome Judge(const SlotCopy& slot, const Target& target, size_t position);
  // Writes it and gives the lock back.
  Task<absl::Status> WriteAndRelease(const Target* target, const Landing* landing, size_t position,
                                     HeldLock held);
  Task<absl::Status> Release(HeldLock held, absl::Span<const transport::WorkRequest> data,
                             uint64_t deadline_ns);
  Task<absl::Status> Read(const Target& target, uint64_t offset_bytes, uint32_t length_bytes,
                          const Landing& landing, size_t at_bytes);
  transport::WorkRequest Write(const Landing& landing, size_t at_bytes, const uint64_t* words,
                               size_t count, transport::RemoteKey key, uint64_t offset_bytes) const;

  const Options options_;
  const std::unique_ptr<LandingPool> landings_;
  WriterStats stats_;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_REMOTE_WRITER_H_
