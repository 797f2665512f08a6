// The three words of an ALock, as they lie in a bucket's header, and the words that stand in them. The
// protocol: docs/alock.md.

#ifndef ACRE_LOCK_LOCK_WORDS_H_
#define ACRE_LOCK_LOCK_WORDS_H_

#include <cstddef>
#include <cstdint>

#include "runtime/shared_word.h"

namespace acre {

// A template over the word type, so that the memory orders of what is built on it can be checked on a
// model of memory (lock/local_cohort_relacy_test.cc). Everything else says LockWords.
template <class Word>
struct BasicLockWords {
  // LocalWord of the last in the local queue, 0: nobody. CPU compare-exchange by local threads; read by all.
  Word local_tail;
  // RemoteWord of the last in the remote queue, 0: nobody. COMPARE_SWAP through the fabric that the region
  // was made by, never anything else; read by all.
  Word remote_tail;
  // The Cohort whose leader lets the other go first; 0: no leader has ever met another. Stored or WRITten by
  // leaders, never the target of an atomic; read by leaders.
  Word victim;
};
using LockWords = BasicLockWords<SharedWord>;
static_assert(sizeof(LockWords) == 24);
static_assert(offsetof(LockWords, remote_tail) == 8 && offsetof(LockWords, victim) == 16);

// Who shares a queue. Local: threads that have the lock mapped with write access. Remote: all others.
enum class Cohort : uint64_t { kLocal = 1, kRemote = 2 };

// How often a cohort hands a lock on to itself before the other one, if it waits, has its turn. In [1, kMax].
struct LockBudgets {
  static constexpr uint32_t kMax = 1 << 16;
  uint32_t local = 5;
  uint32_t remote = 20;
};

// Names a descriptor of the local cohort, and one acquisition that it serves: {sequence, index in the arena}.
// Indices begin at 1, so no word is 0.
class LocalWord {
 public:
  static constexpr uint32_t kIndexBits = 24;
  static constexpr uint32_t kIndexMax = (1u << kIndexBits) - 1;

  constexpr LocalWord() = default;
  constexpr LocalWord(uint32_t index, uint64_t sequence) : bits_(sequence << kIndexBits | index) {}
  static constexpr LocalWord FromBits(uint64_t bits) {
    LocalWord word;
    word.bits_ = bits;
    return word;
  }

  constexpr uint64_t bits() const { return bits_; }
  constexpr uint32_t index() const { return static_cast<uint32_t>(bits_ & kIndexMax); }
  constexpr uint64_t sequence() const { return bits_ >> kIndexBits; }
  constexpr bool is_null() const { return bits_ == 0; }
  // The next acquisition with this descriptor.
  constexpr LocalWord Next() const { return LocalWord(index(), sequence() + 1); }

  friend constexpr bool operator==(LocalWord, LocalWord) = default;

 private:
  uint64_t bits_ = 0;
};

// The same of the remote cohort: {process id, index among the descriptors of that process, sequence}. Process
// ids are never 0 (transport/address.h).
class RemoteWord {
 public:
  static constexpr uint32_t kIndexBits = 12;
  static constexpr uint32_t kSequenceBits = 20;
  static constexpr uint32_t kDescriptorsMax = 1u << kIndexBits;  // Of one process, for one home.

  constexpr RemoteWord() = default;
  constexpr RemoteWord(uint32_t process_id, uint32_t index, uint32_t sequence)
      : bits_(uint64_t{process_id} << 32 | uint64_t{index} << kSequenceBits |
              (sequence & kSequenceMask)) {}
  static constexpr RemoteWord FromBits(uint64_t bits) {
    RemoteWord word;
    word.bits_ = bits;
    return word;
  }

  constexpr uint64_t bits() const { return bits_; }
  constexpr uint32_t process_id() const { return static_cast<uint32_t>(bits_ >> 32); }
  constexpr uint32_t index() const {
    return static_cast<uint32_t>(bits_ >> kSequenceBits) & (kDescriptorsMax - 1);
  }
  constexpr uint32_t sequence() const { return static_cast<uint32_t>(bits_) & kSequenceMask; }
  constexpr bool is_null() const { return bits_ == 0; }
  // The next acquisition with this descriptor. The sequence wraps around.
  constexpr RemoteWord Next() const { return RemoteWord(process_id(), index(), sequence() + 1); }

  friend constexpr bool operator==(RemoteWord, RemoteWord) = default;

 private:
  static constexpr uint32_t kSequenceMask = (1u << kSequenceBits) - 1;

  uint64_t bits_ = 0;
};

// What stands in a descriptor's grant word: for which acquisition, and a budget, or that there is none yet.
class LockGrant {
 public:
  // No grant yet.
  static constexpr LockGrant Wait(uint64_t sequence) { return LockGrant(sequence, kWaitBudget); }
  // budget > 0: the lock. 0: leadership of the cohort only.
  static constexpr LockGrant Of(uint64_t sequence, uint32_t budget) {
    return LockGrant(sequence, budget);
  }
  static constexpr LockGrant FromBits(uint64_t bits) {
    return LockGrant(bits >> 32, static_cast<uint32_t>(bits));
  }

  constexpr uint64_t bits() const { return bits_; }
  constexpr uint32_t budget() const { return static_cast<uint32_t>(bits_); }
  constexpr bool IsWait(uint64_t sequence) const {
    return bits_ == Wait(sequence & 0xffff'ffff).bits_;
  }
  // Whether this grants the acquisition with that sequence number something. Of a peer's word, too: a budget
  // that nobody can have is none.
  constexpr bool IsFor(uint64_t sequence) const {
    return bits_ >> 32 == (sequence & 0xffff'ffff) && budget() <= LockBudgets::kMax;
  }

 private:
  static constexpr uint32_t kWaitBudget = UINT32_MAX;

  constexpr LockGrant(uint64_t sequence, uint32_t budget) : bits_(sequence << 32 | budget) {}

  uint64_t bits_;
};

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_WORDS_H_
