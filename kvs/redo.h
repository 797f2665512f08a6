// Redo: what a remote writer announces before it touches a slot, so that the slot's home can finish its update when
// it dies in the middle (docs/updates.md).
//
// A redo record lies in the home's memory, behind the LockIntent of the acquisition that it is made under, in the
// same place of the writer's own intents (lock/lock_intent.h). WRITTEN as a whole, so its words may be seen one by
// one, in any order: the checksum says whether they belong together.

#ifndef ACRE_KVS_REDO_H_
#define ACRE_KVS_REDO_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kvs/slot.h"
#include "lock/lock_intent.h"
#include "lock/lock_words.h"
#include "transport/address.h"

namespace acre::kvs {

struct Redo {
  uint64_t word;   // RemoteWord: of the acquisition of the lock that guards the slot.
  uint64_t slot;   // GlobalAddress of the slot.
  uint64_t first;  // The slot's new first word: even, with its new version.
  uint64_t body[kSlotBodyWords];
  uint64_t checksum;

  static Redo Of(RemoteWord word, GlobalAddress slot, SlotWord first, const uint64_t* body) {
    Redo redo;
    redo.word = word.bits();
    redo.slot = slot.bits();
    redo.first = first.bits();
    std::copy_n(body, kSlotBodyWords, redo.body);
    redo.checksum = redo.Checksum();
    return redo;
  }
  // It is whole, and that acquisition's. What it says is still to be judged.
  bool IsFor(RemoteWord of) const {
    return !of.is_null() && word == of.bits() && checksum == Checksum();
  }
  SlotWord first_word() const { return SlotWord(first); }

 private:
  // Never 0: zeroed memory is no record.
  uint64_t Checksum() const {
    constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
    uint64_t sum = word * kOdd;
    for (const uint64_t next :
         {slot, first, body[0], body[1], body[2], body[3], body[4], body[5]}) {
      sum = (sum ^ (sum >> 29) ^ next) * kOdd;
    }
    return (sum ^ (sum >> 31)) | 1;
  }
};
constexpr size_t kRedoWords = sizeof(Redo) / kWordBytes;
static_assert(sizeof(Redo) == 80 && offsetof(Redo, body) == 24 && offsetof(Redo, checksum) == 72);
static_assert(sizeof(LockIntent) + sizeof(Redo) <= kLockIntentBytes);

// In the region of the writer's intents.
constexpr uint64_t RedoOffset(RemoteWord word) {
  return LockIntentOffset(word) + sizeof(LockIntent);
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_REDO_H_
