// The memory that a home and its children share: locks, the records that they guard, and what everybody writes down
// for the judge, which is not under test.

#ifndef ACRE_LOCK_KILL_BOARD_H_
#define ACRE_LOCK_KILL_BOARD_H_

#include <cstddef>
#include <cstdint>

#include "lock/lock_intent.h"
#include "lock/lock_words.h"
#include "runtime/shared_word.h"
#include "transport/address.h"
#include "transport/region_header.h"

namespace acre::lock_kill {

constexpr uint32_t kLocks = 2;
constexpr uint32_t kPlaces = 8;         // Of children.
constexpr uint32_t kTasks = 2;          // Of each child.
constexpr uint32_t kDescriptors = 256;  // Of a remote child.
constexpr uint32_t kArenaDescriptors = 64;

// Region ids. Children number theirs by themselves.
constexpr uint32_t kLockRegion = 100;
constexpr uint32_t kArenaRegion = 101;
constexpr uint32_t kBoardRegion = 102;
constexpr uint32_t kLandingRegion = 103;
constexpr uint32_t kIntentRegion = 1000;  // And up: plus the process's id.

// ---- What a lock guards: a record of two lines, all of whose words are the same number, and behind it the word
// that says who is inside, with a line of its own.

constexpr uint32_t kRecordWords = 2 * kLineBytes / kWordBytes;
constexpr uint32_t kInsideWord = kRecordWords;
constexpr uint32_t kGuardedWords = kRecordWords + 1;
constexpr uint32_t kGuardedOffset = kLineBytes;
constexpr uint32_t kLockStride = 4 * kLineBytes;

constexpr GlobalAddress LockAddress(uint32_t lock) {
  return GlobalAddress(kLockRegion,
                       static_cast<uint32_t>(transport::kRegionHeaderBytes) + lock * kLockStride);
}
constexpr uint32_t LockNumber(GlobalAddress address) {
  return (address.offset_bytes() - LockAddress(0).offset_bytes()) / kLockStride;
}
constexpr uint64_t GuardedOffset(uint32_t lock) {
  return LockAddress(lock).offset_bytes() + kGuardedOffset;
}

// Which acquisition makes which number. Written before the first word of the record is.
struct Redo {
  uint64_t word = 0;
  uint64_t value = 0;
  uint64_t checksum = 0;
  static Redo Of(uint64_t word, uint64_t value) { return {word, value, Sum(word, value)}; }
  bool IsFor(uint64_t of) const { return word == of && checksum == Sum(word, value); }

 private:
  static uint64_t Sum(uint64_t word, uint64_t value) { return word ^ (value * 3) ^ 0x5a; }
};
constexpr uint32_t kRedoWords = sizeof(Redo) / kWordBytes;
constexpr uint64_t kRedoOffset = sizeof(LockIntent);  // In a remote intent.

// ---- The board: CPU atomics of all processes, which map it.

// What the home tells a child to do at its next turn in a lock.
enum class Order : uint64_t {
  kNone,
  kStopItself,     // SIGSTOP of oneself, when the end of the turn is about to be posted.
  kHold,           // Stay inside until this is taken back.
  kDieInside,      // kill -9 of oneself: as soon as `inside` says so,
  kDieAnnounced,   // behind the redo record,
  kDieMidRecord,   // with half of the record written,
  kDieUnreleased,  // or all of it.
};
constexpr uint64_t kDyingOrders = 4;

struct BoardLock {
  SharedWord announced;  // Numbers that holders began to write.
  SharedWord confirmed;  // Those whose holders were told that they stand.
  // Who was the first to enter since the home set it to 0, and when (CLOCK_MONOTONIC).
  SharedWord first_entry_ns;
  SharedWord reserved[5];
};
struct BoardPlace {
  SharedWord order;            // Order. The home's.
  SharedWord holding;          // kHold: which lock, plus 1.
  SharedWord holding_word;     // By which acquisition. Stored before.
  SharedWord progress;         // Numbers that it confirmed.
  SharedWord waiting[kTasks];  // For which lock each task waits, however long that takes, plus 1.
  // Of a remote one: 1 while the end of a turn is posted and not answered.
  SharedWord releasing[kTasks];
};
struct Board {
  BoardLock locks[kLocks];
  BoardPlace places[kPlaces];
  SharedWord local_redo[kArenaDescriptors * kRedoWords];  // Of each descriptor of the arena.
};
static_assert(sizeof(BoardLock) == kLineBytes && sizeof(BoardPlace) == kLineBytes);

inline Board* BoardIn(SharedWord* region) {
  return reinterpret_cast<Board*>(region + transport::kRegionHeaderBytes / kWordBytes);
}

}  // namespace acre::lock_kill

#endif  // ACRE_LOCK_KILL_BOARD_H_
