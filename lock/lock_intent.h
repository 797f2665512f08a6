// Intents: what a home is told of the remote places in its locks' queues, before they are there, so that it can
// read each queue backwards from its tail and repair it when somebody dies (docs/alock.md).
//
// An intent lies in the home's memory, one for each descriptor of a process, in a region of that process's own
// which only it may write.

#ifndef ACRE_LOCK_LOCK_INTENT_H_
#define ACRE_LOCK_LOCK_INTENT_H_

#include <cstddef>
#include <cstdint>

#include "lock/lock_words.h"
#include "runtime/shared_word.h"
#include "transport/address.h"
#include "transport/region_header.h"

namespace acre {

// The first part of an intent: which place in which queue (A2). WRITTEN as a whole, so its words may be seen one
// by one, in any order: the checksum says whether they belong together.
struct LockIntent {
  uint64_t word;  // RemoteWord.
  uint64_t lock;  // GlobalAddress.
  uint64_t pred;  // RemoteWord of the predecessor, if `word` is in the queue. 0: none.
  uint64_t checksum;

  static LockIntent Of(RemoteWord word, GlobalAddress lock, RemoteWord pred) {
    return {word.bits(), lock.bits(), pred.bits(), Checksum(word.bits(), lock.bits(), pred.bits())};
  }
  bool IsWhole() const { return checksum == Checksum(word, lock, pred) && word != 0; }

 private:
  // Never 0 for a word that is not 0: zeroed memory is no intent.
  static uint64_t Checksum(uint64_t word, uint64_t lock, uint64_t pred) {
    constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
    uint64_t sum = word * kOdd;
    sum = (sum ^ (sum >> 29) ^ lock) * kOdd;
    sum = (sum ^ (sum >> 31) ^ pred) * kOdd;
    return sum | 1;
  }
};
static_assert(sizeof(LockIntent) == 32);

constexpr uint64_t kLockIntentBytes = 2 * kLineBytes;  // The rest is for redo records.
constexpr uint64_t LockIntentOffset(RemoteWord word) {
  return transport::kRegionHeaderBytes + uint64_t{word.index()} * kLockIntentBytes;
}
constexpr uint64_t LockIntentsBytes(uint32_t descriptors_count) {
  return transport::kRegionHeaderBytes + descriptors_count * kLockIntentBytes;
}

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_INTENT_H_
