// SlotRepair: finishes, at the home, the updates that dead remote writers had begun (docs/updates.md): what they
// announced (kvs/redo.h) and did not get done.
//
// Threads:   confined to that of the LockKeeper which calls it. Server threads and readers look on.
// Ownership: borrows the table; it and the intents outlive it.

#ifndef ACRE_KVS_SLOT_REPAIR_H_
#define ACRE_KVS_SLOT_REPAIR_H_

#include <cstdint>
#include <functional>

#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/redo.h"
#include "kvs/segment.h"
#include "kvs/table.h"
#include "lock/lock_repair.h"
#include "lock/lock_words.h"
#include "runtime/shared_word.h"
#include "transport/address.h"

namespace acre::kvs {

class SlotRepair final : public GuardedData {
 public:
  // The intents of a process, as RemoteRepair::AddProcess has them. Null words: none.
  struct Intents {
    const SharedWord* words = nullptr;
    uint32_t descriptors_count = 0;
  };
  using FindIntents = std::function<Intents(uint32_t process_id)>;

  SlotRepair(Table* table, FindIntents find_intents);

  // Nothing: in the local cohort are only the server's own threads, which do not die alone.
  void RepairLocal(GlobalAddress lock, LocalWord dead) override;
  // Applies the records of these acquisitions, in their order, where the slot's version is below a record's. A lock
  // of no bucket, and records that make no sense, change nothing: they are a peer's bytes. An acquisition with no
  // whole record has not touched its slot.
  void RepairRemote(GlobalAddress lock, absl::Span<const RemoteWord> dead) override;

  // Whether a slot of the bucket that this lock guards is half-written.
  bool IsHalfWritten(GlobalAddress lock) const;

  // Records applied, and those that were whole but not to be believed, since it was made.
  uint64_t applied_count() const { return applied_count_; }
  uint64_t refused_count() const { return refused_count_; }

 private:
  // Of that acquisition; nullopt: none, or not whole.
  absl::optional<Redo> Read(RemoteWord word) const;
  // The bucket that this lock guards; null: it guards none.
  Bucket* FindBucketOf(GlobalAddress lock) const;
  // Applies it, where that is still to be done and makes sense.
  void Apply(const Redo& redo, GlobalAddress lock, Bucket* bucket);

  Table* const table_;
  const FindIntents find_intents_;
  uint64_t applied_count_ = 0;
  uint64_t refused_count_ = 0;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_SLOT_REPAIR_H_
