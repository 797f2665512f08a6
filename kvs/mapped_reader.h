// MappedReader: Get from a table whose memory is mapped into this process (transport/shm).
//
// Threads: confined to one. Ownership: borrows the mappings (they live as long as the queue pair).

#ifndef ACRE_KVS_MAPPED_READER_H_
#define ACRE_KVS_MAPPED_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/key_share.h"
#include "kvs/read_mark.h"
#include "kvs/reader.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::kvs {

class MappedReader {
 public:
  static constexpr uint64_t kUsualPatienceNs = ~uint64_t{0};  // As long as Create() was told.

  // Maps every region of the directory through `queue_pair` and judges its layout. `patience_ns`: how
  // long a call waits for records that stay locked, but a second at most, since it holds its thread.
  // `share`: the keys that the server holds. Errors: those of QueuePair::Map; DataLoss - a header makes no
  // sense.
  static absl::StatusOr<std::unique_ptr<MappedReader>> Create(
      transport::QueuePair* queue_pair, absl::Span<const RegionEntry> directory, Clock* clock,
      uint64_t patience_ns, const KeyShare& share = {});
  ~MappedReader();

  // Replaces *value, whose memory is reused. Answers: kvs/reader.h.
  absl::Status Get(absl::string_view key, std::string* value);
  // The same for who has other things to do on this thread, perhaps the very one that the record is locked for: a few
  // looks at a record that is locked, then Unavailable. IsLive() tells that from a server that is gone.
  absl::Status GetNow(absl::string_view key, std::string* value);
  bool IsLive() const;
  // Get for many keys, their cache misses overlapped. The three spans have the same size. Waits no longer than
  // `patience_ns` in all; 0: as GetNow.
  void MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                absl::Span<absl::Status> statuses, uint64_t patience_ns = kUsualPatienceNs);

  // Get for a transaction: if OK or NotFound, *mark tells later whether that still stands. Waits no longer
  // than `patience_ns` for a record that stays locked, nor than Create() was told: then Unavailable. A
  // transaction that others hold up had better give up and run again.
  absl::Status GetMarked(absl::string_view key, std::string* value, ReadMark* mark,
                         uint64_t patience_ns = kUsualPatienceNs);
  // The same for many keys. Not of one moment: validate them. The patience is for all together.
  void MultiGetMarked(absl::Span<MarkedGet> gets, uint64_t patience_ns = kUsualPatienceNs);
  // Looks at each mark's word, in order: *changed is the index of the first that does not stand any more, or
  // nullopt: each read stood from when it was made until now (kvs/read_mark.h). Marks are those of this
  // reader, or of another one of the same regions: CHECKs that each is of a word of theirs.
  // Errors, and then *changed is nullopt: Unavailable - the server is gone: what its memory still says is
  // no answer.
  [[nodiscard]] absl::Status Validate(absl::Span<const ReadMark> marks,
                                      absl::optional<size_t>* changed);
  // The word that tells of misses of a key with this hash (kvs/read_mark.h).
  GlobalAddress StructureWord(uint64_t hash) const;

  ReaderStats stats() const;
  // The epoch that the server's header shows (kvs/epoch.h).
  uint64_t ServerEpoch() const;

 private:
  struct Impl;
  struct Patience;
  explicit MappedReader(std::unique_ptr<Impl> impl);
  // The usual case of a Get: false: nothing was done, it is another one.
  bool GetUsual(absl::string_view key, std::string* value);
  // MultiGet of a few keys. *patience: of the whole call.
  void GetGroup(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                absl::Span<absl::Status> statuses, Patience* patience);
  // Asks for the lines that the gets will want, their cache misses overlapped.
  void PrefetchGroup(absl::Span<const MarkedGet> gets) const;

  std::unique_ptr<Impl> impl_;
  ReaderStats stats_;        // But for
  uint64_t usual_hits_ = 0;  // Gets that took one look: counted apart, in one instruction.
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_MAPPED_READER_H_
