// LocalArena: the descriptors of all local threads of one home, in memory that all of them map.
//
// Threads:   any, also of other processes that map the same memory.
// Ownership: with Create() it owns its memory; on a region it borrows it.
// Trust:     whoever can write here can write the locks, too. Still no word of it is followed out of bounds: an
//            index that is none leads to descriptor 0, which is no descriptor: its `pred` says how many others were
//            ever claimed.

#ifndef ACRE_LOCK_LOCAL_ARENA_H_
#define ACRE_LOCK_LOCAL_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "lock/local_cohort.h"
#include "lock/lock_words.h"

namespace acre {

class LocalArena {
 public:
  // Of this process alone. Memory is touched, and so taken from the machine, as descriptors are claimed.
  static constexpr uint32_t kDescriptorsDefault = 1 << 20;
  static std::unique_ptr<LocalArena> Create(uint32_t descriptors_count = kDescriptorsDefault);

  // In zero-filled shared memory, or where others work already: `words` begins at a cache line and holds
  // whole descriptors, of which the first is never used. It outlives the arena.
  explicit LocalArena(absl::Span<SharedWord> words);
  ~LocalArena();
  LocalArena(const LocalArena&) = delete;
  LocalArena& operator=(const LocalArena&) = delete;

  uint32_t descriptors_count() const { return count_; }
  LocalDescriptor* Find(LocalWord word) const {
    return &descriptors_[word.index() < count_ ? word.index() : 0];
  }

  // Above the index of every descriptor that was ever claimed.
  uint32_t claimed_end() const;

  // Claims a free descriptor for a process (not 0), for any of its threads. Returns the word of its next
  // acquisition, null: there is none left.
  LocalWord Claim(uint32_t process_id);
  // Gives it back. It is in no queue.
  void Free(LocalWord word);

 private:
  LocalDescriptor* const descriptors_;
  const uint32_t count_;
  const size_t mapped_bytes_;  // 0: borrowed.
  SharedWord hint_;            // Where to look for a free one first. Any value will do.

  LocalArena(void* mapped, size_t bytes);
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCAL_ARENA_H_
