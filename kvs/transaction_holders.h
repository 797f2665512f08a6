// TransactionHolders: which transaction holds a bucket's lock, for whoever loses against it and wants to say
// to whom. Hints: a holder may be unknown, but one that is named did hold the lock at that moment.
//
// A fixed table with one place per hash of an address: of two locks that share a place one is unknown.
//
// Threads: any. Set and Clear by the holder of the lock alone.

#ifndef ACRE_KVS_TRANSACTION_HOLDERS_H_
#define ACRE_KVS_TRANSACTION_HOLDERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/optional.h"
#include "kvs/transaction_id.h"
#include "transport/address.h"

namespace acre::kvs {

class TransactionHolders {
 public:
  static constexpr size_t kPlaces = 1 << 14;

  void Set(GlobalAddress lock, const TransactionId& id) {
    Place& place = PlaceOf(lock);
    // The words of two who share the place may mix: then the check, which is of all of them, is wrong.
    place.check.store(0, std::memory_order_relaxed);
    place.view.store(id.coordinator.view, std::memory_order_relaxed);
    place.coordinator.store(Coordinator(id), std::memory_order_relaxed);
    place.sequence.store(id.sequence, std::memory_order_relaxed);
    // Release: whoever sees it sees these words, or later ones.
    place.check.store(Check(lock, id), std::memory_order_release);
  }
  void Clear(GlobalAddress lock, const TransactionId& id) {
    Place& place = PlaceOf(lock);
    // Relaxed: a hint. Another one's that comes in between is lost: unknown.
    if (place.check.load(std::memory_order_relaxed) == Check(lock, id)) {
      place.check.store(0, std::memory_order_relaxed);
    }
  }
  // nullopt: no transaction does, or it is not known.
  absl::optional<TransactionId> Find(GlobalAddress lock) const {
    const Place& place = PlaceOf(lock);
    const uint64_t check = place.check.load(std::memory_order_acquire);
    TransactionId id;
    id.coordinator.view = place.view.load(std::memory_order_relaxed);
    const uint64_t coordinator = place.coordinator.load(std::memory_order_relaxed);
    id.coordinator.process_id = static_cast<uint32_t>(coordinator >> 32);
    id.coordinator.thread = static_cast<uint32_t>(coordinator);
    id.sequence = place.sequence.load(std::memory_order_relaxed);
    if (check != Check(lock, id)) return absl::nullopt;
    return id;
  }

 private:
  // All relaxed but `check`, which says whether they belong together.
  struct Place {
    std::atomic<uint64_t> check{0};
    std::atomic<uint64_t> view{0};
    std::atomic<uint64_t> coordinator{0};
    std::atomic<uint64_t> sequence{0};
  };

  static uint64_t Coordinator(const TransactionId& id) {
    return uint64_t{id.coordinator.process_id} << 32 | id.coordinator.thread;
  }
  static uint64_t Mix(uint64_t mixed, uint64_t word) {
    mixed = (mixed ^ word) * 0x9e3779b97f4a7c15;
    return mixed ^ mixed >> 29;
  }
  // Never 0.
  static uint64_t Check(GlobalAddress lock, const TransactionId& id) {
    return Mix(Mix(Mix(Mix(1, lock.bits()), id.coordinator.view), Coordinator(id)), id.sequence) |
           1;
  }
  Place& PlaceOf(GlobalAddress lock) const {
    return places_[Mix(1, lock.bits() / kBucketAlignment) % kPlaces];
  }
  static constexpr uint64_t kBucketAlignment = 64;

  const std::unique_ptr<Place[]> places_ = std::make_unique<Place[]>(kPlaces);
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_HOLDERS_H_
