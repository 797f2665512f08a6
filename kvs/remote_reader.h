// RemoteReader: Get by one-sided READs, on any fabric.
//
// A hit in the bucket pair costs one READ of 512 B, a hit in a chain one more per bucket of it, an
// object out of line one more; a miss costs two (double collect, kvs/bucket.h) and the chain.
//
// Threads: confined to the port's. Ownership: borrows port and queue pair, which outlive it.

#ifndef ACRE_KVS_REMOTE_READER_H_
#define ACRE_KVS_REMOTE_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/bucket.h"
#include "kvs/key_share.h"
#include "kvs/landing.h"
#include "kvs/read_mark.h"
#include "kvs/reader.h"
#include "kvs/remote_directory.h"
#include "kvs/segment_layout.h"
#include "kvs/segment_view.h"
#include "runtime/task.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::kvs {

class RemoteReader {
 public:
  // READs and judges the layout of every region of the directory. `region_id` and the next one name
  // the memory where READs land; they are not used for anything else in this process.
  // `share`: the keys that the server holds. DeadlineExceeded as below.
  static Task<absl::StatusOr<std::unique_ptr<RemoteReader>>> Create(
      transport::Fabric* fabric, transport::Port* port, transport::QueuePair* queue_pair,
      std::vector<RegionEntry> directory, uint32_t region_id, uint64_t deadline_ns,
      KeyShare share = {});

  // Replaces *value. `key` and `value` outlive the task. Answers: kvs/reader.h. At deadline_ns (the
  // scheduler's clock) gives up: DeadlineExceeded if a READ, or a place to READ into, is still
  // waited for then; Unavailable if the record is still locked. A Get whose READs complete at once
  // never looks at the clock.
  Task<absl::Status> Get(absl::string_view key, std::string* value, uint64_t deadline_ns);
  // The same for who does not want a coroutine where a READ completes at once: an empty task, and *status
  // is the answer; else the task is the rest of the Get, and gives up timeout_ns from now.
  Task<absl::Status> StartGet(absl::string_view key, std::string* value, uint64_t timeout_ns,
                              absl::Status* status);
  // All first READs leave with one doorbell. The three spans have the same size and outlive the
  // task.
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses, uint64_t deadline_ns);
  // MultiGet for a transaction: for each that is OK or NotFound its mark tells later whether that still stands.
  // Not of one moment: validate them. `gets` outlive the task. A record that stays locked is Unavailable at
  // deadline_ns: a transaction that others hold up had better give up soon, and run again.
  Task<void> MultiGetMarked(absl::Span<MarkedGet> gets, uint64_t deadline_ns);
  // READs each mark's word, all with one doorbell (of as many as the send queue takes, 128 at most):
  // *changed is the index of the first that does not stand any more, or nullopt: each read stood from when it
  // was made until now (kvs/read_mark.h). No marks: no READ. Marks are those of this reader, or of another
  // one of the same regions: CHECKs that each is of a word of theirs. `marks` and `changed` outlive the task.
  // Errors, and then *changed is nullopt: Unavailable - the server is gone. DeadlineExceeded as above.
  Task<absl::Status> Validate(absl::Span<const ReadMark> marks, absl::optional<size_t>* changed,
                              uint64_t deadline_ns);
  // The word that tells of misses of a key with this hash (kvs/read_mark.h).
  GlobalAddress StructureWord(uint64_t hash) const;
  // READs the epoch of the server's header (kvs/epoch.h). No deadline: for who has nothing else to
  // do.
  Task<absl::StatusOr<uint64_t>> ServerEpoch();

  // Gets, MultiGets, Validates and ServerEpochs that have READ, or are about to, and have not ended. Every one of
  // them holds a landing for buckets from its first READ to its end.
  size_t reads_under_way() const { return landings_->held_count(); }

  const ReaderStats& stats() const { return stats_; }
  // For others of the same connection (kvs/remote_writer.h).
  const std::shared_ptr<const RemoteDirectory>& directory() const { return directory_; }

 private:
  using Landing = LandingPool::Landing;

  // A key on its way: where its home is, and how long to try.
  struct Target {
    LookupKey key;
    const RemoteSegment* segment;
    uint64_t home;
    uint64_t deadline_ns;
  };
  // What one collect of a pair, or of a chain's bucket, says of a key.
  enum class Verdict : uint8_t { kFound, kAbsent, kTorn, kStale };

  RemoteReader(transport::Port* port, transport::QueuePair* queue_pair, const KeyShare& share)
      : port_(port), queue_pair_(queue_pair), share_(share) {}

  Target TargetOf(absl::string_view key, uint64_t deadline_ns) const;
  // What has been done of a Get.
  enum class Progress : uint8_t {
    kNothing,
    kRead,       // The pair has landed.
    kReadChain,  // And the first bucket of its chain.
    kAnswered,
  };
  // As much of a Get as can be done without waiting. `landing` may be empty.
  Progress GetAtOnce(const Target& target, const Landing& landing, std::string* value,
                     absl::Status* status);
  // The same for the first bucket of the chain, when the pair has landed and is not the usual case.
  Progress ChainAtOnce(const Target& target, const Landing& landing, std::string* value,
                       absl::Status* status);
  // The rest of it.
  Task<absl::Status> GoOn(Target target, Landing landing, Progress progress, std::string* value);
  transport::WorkRequest PairRequest(const Target& target, const Landing& landing) const;
  // Takes the value, if the tags of the pair that has landed lead to a slot that holds the key inline:
  // the usual case. False: anything else.
  static bool TakeUsual(const Landing& landing, const Target& target, std::string* value);
  // The same for any key, with its mark.
  static bool TakeUsualMarked(const Landing& landing, const Target& target, std::string* value,
                              ReadMark* mark);
  // MultiGet and MultiGetMarked.
  template <class Gets>
  Task<void> MultiGetOf(Gets gets, uint64_t deadline_ns);
  // One of the latter that does not leave with the others.
  Task<absl::Status> GetMarkedSingly(absl::string_view key, std::string* value, ReadMark* mark,
                                     uint64_t deadline_ns);
  transport::WorkRequest ReadRequest(const RemoteSegment& segment, uint64_t offset_bytes,
                                     uint32_t length_bytes, SharedWord* to,
                                     const transport::MemoryRegion* region) const;
  // The usual case: the tags of a pair lead to a slot that holds the key inline. Null: anything
  // else.
  static const SlotCopy* FindByTags(const BucketCopy* pair, const Target& target);
  // The first slot from *position on that may be the key's: its position, if kFound.
  static Verdict Search(const BucketCopy* buckets, size_t buckets_count, const Target& target,
                        size_t* position);
  static bool StoodStill(const BucketCopy* before, const BucketCopy* after);

  // READs into the landing and waits. OK, DeadlineExceeded, or what became of the server.
  Task<absl::Status> Read(const RemoteSegment* segment, uint64_t offset_bytes,
                          uint32_t length_bytes, const LandingPool* pool, Landing* landing,
                          size_t at_bytes, uint64_t deadline_ns);
  // From a first collect in the landing to the answer: objects, chains, the second collect, and
  // again from the start while writers are at work. `chain_landed`: so has the chain's first bucket.
  // `mark`: of the answer; null: nobody wants it.
  Task<absl::Status> Finish(const Target* target, Landing* landing, bool chain_landed,
                            std::string* value, ReadMark* mark);
  // One round of that. Aborted: a writer was at work, start again.
  Task<absl::Status> FinishOnce(const Target* target, Landing* landing, bool chain_landed,
                                std::string* value, ReadMark* mark);
  Task<absl::Status> Chain(const Target* target, Landing* landing, uint64_t address,
                           bool first_landed, std::string* value, ReadMark* mark);
  // What a chain says that has one bucket too many: Aborted, or DataLoss.
  Task<absl::Status> JudgeLongChain(const Target* target, Landing* landing);
  // READs the home's pair behind the first collect of it.
  Task<absl::Status> ReadPairAgain(const Target* target, Landing* landing);
  // Looks the key up in buckets that were READ from this offset. OK, NotFound, Aborted as above.
  Task<absl::Status> SearchAndAnswer(const Target* target, const BucketCopy* buckets,
                                     size_t buckets_count, uint64_t offset_bytes,
                                     std::string* value, ReadMark* mark);
  // Answers from a consistent slot that may be the key's. NotFound: it is another key's.
  Task<absl::Status> Answer(const Target* target, const SlotCopy* slot, std::string* value);

  transport::Port* const port_;
  transport::QueuePair* const queue_pair_;
  const KeyShare share_;
  std::shared_ptr<const RemoteDirectory> directory_;
  absl::Span<const RemoteSegment> segments_;  // Its.
  std::unique_ptr<LandingPool> landings_;
  std::unique_ptr<LandingPool> object_landings_;
  transport::WorkRequest usual_request_;  // READs a pair of buckets at once.
  ReaderStats stats_;
  size_t validation_reads_max_ = 0;  // Of one doorbell.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_REMOTE_READER_H_
