// The three words of an ALock, as they lie in a bucket's header.

#ifndef ACRE_LOCK_LOCK_WORDS_H_
#define ACRE_LOCK_LOCK_WORDS_H_

#include <cstddef>

#include "runtime/shared_word.h"

namespace acre {

// Two MCS queues, one per cohort, and Peterson's algorithm between their heads (ALock). Only
// the local cohort is in use: remote_tail and victim are zero, and nothing but zero may be stored
// there.
struct LockWords {
  // LocalLockNode* of the last in the queue, 0: free. CPU atomics of the home only.
  SharedWord local_tail;
  SharedWord remote_tail;  // Zero. Fabric atomics only.
  SharedWord victim;       // Zero.
};
static_assert(sizeof(LockWords) == 24);
static_assert(offsetof(LockWords, remote_tail) == 8 && offsetof(LockWords, victim) == 16);

}  // namespace acre

#endif  // ACRE_LOCK_LOCK_WORDS_H_
