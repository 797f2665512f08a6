// The wake flag: how a receiver that goes to sleep and the senders that would have to wake it agree,
// through shared memory, that no wake-up is lost.
//
//   receiver                                sender
//     R1: stores the number of its Arm()      S1: stores its message
//     R2: full barrier                        S2: full barrier
//     R3: looks for messages once more        S3: looks at the flag: is it armed, wake it
//     sleeps
//
// Stores wait in a store buffer while later loads are done, so without R2 and S2 both may look before
// either has stored: the message lies there and its receiver sleeps. With both barriers R3 sees the
// message, or S3 sees the flag. A sender wakes once for each Arm(), by whatever means there is (a packet,
// a descriptor). Used between processes of one machine; over a card the completion queue does this.
//
// Threads: a WakeReceiver belongs to the receiving thread, a WakeSender and an UnorderedStores to one
//          sending thread. Only the WakePage is shared: written by the receiver, read by all its senders.

#ifndef ACRE_TRANSPORT_WAKE_FLAG_H_
#define ACRE_TRANSPORT_WAKE_FLAG_H_

#include <cstdint>

#include "runtime/planted_bug.h"
#include "runtime/shared_word.h"

namespace acre::transport {

// Whether its owner sleeps. Its peers can only look.
struct WakePage {
  // 0: polls. Else it wants to be woken, and this is the number of its Arm(): peers wake once for each.
  SharedWord armed;
};

// The store buffer of a thread, as far as it is known. Stores to memory of others are noted; whoever must
// have them seen before it looks at something asks for the barrier, which costs nothing when nothing is
// noted.
class UnorderedStores {
 public:
  void Note() { noted_ = true; }
  void OrderBeforeLoads() {
    if (!noted_) return;
    if (!IsPlanted(PlantedBug::kWakeWithoutBarrier)) StoreLoadBarrier();
    noted_ = false;
  }

 private:
  bool noted_ = false;
};

class WakeReceiver {
 public:
  explicit WakeReceiver(WakePage* page) : page_(page) {}

  // The caller looks for messages after this, before it sleeps. Each call has a number of its own, so
  // senders that woke for an earlier one wake again.
  void Arm(UnorderedStores* stores) {
    armed_ = true;
    // R1, R2: senders load it after the barrier that follows their message; our next look at the messages
    // comes after this barrier.
    page_->armed.Store(++arms_count_, std::memory_order_release);
    stores->Note();
    stores->OrderBeforeLoads();
  }
  void Disarm() {
    armed_ = false;
    // A sender that still sees the old number wakes once too often.
    page_->armed.Store(0, std::memory_order_release);
  }
  bool armed() const { return armed_; }

 private:
  WakePage* const page_;
  bool armed_ = false;
  uint64_t arms_count_ = 0;
};

class WakeSender {
 public:
  // Whether the receiver must be woken for the messages that were stored, and noted in `stores`, before.
  [[nodiscard]] bool MustWake(const WakePage& page, UnorderedStores* stores) {
    stores->OrderBeforeLoads();  // S2.
    // S3: the receiver stores it before its last look at what we have just stored.
    const uint64_t armed = page.armed.Load(std::memory_order_acquire);
    if (armed == 0 || armed == woken_for_arm_) return false;
    woken_for_arm_ = armed;
    return true;
  }

 private:
  uint64_t woken_for_arm_ = 0;  // The Arm() that it was woken for.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_WAKE_FLAG_H_
