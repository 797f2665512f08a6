// Landings: places in our memory where READs land, handed out to the reads under way.
//
// Threads:   confined to the scheduler's.
// Ownership: owns its region. A landing goes back when its guard does; one whose task was destroyed
//            with a READ under way is not used again, since the READ may still land in it.

#ifndef ACRE_KVS_LANDING_H_
#define ACRE_KVS_LANDING_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/fabric.h"

namespace acre::kvs {

class LandingPool {
 public:
  // `count` landings of `bytes` each, a multiple of a cache line. The errors of
  // Fabric::CreateRegion.
  static absl::StatusOr<std::unique_ptr<LandingPool>> Create(transport::Fabric* fabric,
                                                             Scheduler* scheduler,
                                                             uint32_t region_id, size_t count,
                                                             size_t bytes);

  class Landing;
  // Waits while all are taken. The pool outlives the landings.
  Task<Landing> Take();
  // Empty if all are taken.
  Landing TryTake();

  const transport::MemoryRegion* region() const { return region_.get(); }

 private:
  LandingPool(std::unique_ptr<transport::MemoryRegion> region, Scheduler* scheduler, size_t count,
              size_t bytes);

  const std::unique_ptr<transport::MemoryRegion> region_;
  std::vector<SharedWord*> free_;
  WaitQueue waiting_;
};

class LandingPool::Landing {
 public:
  Landing() = default;
  Landing(LandingPool* pool, SharedWord* words) : pool_(pool), words_(words) {}
  Landing(Landing&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        words_(other.words_),
        in_flight_(other.in_flight_) {}
  Landing& operator=(Landing&&) = delete;
  ~Landing();

  void Swap(Landing* other) {
    std::swap(pool_, other->pool_);
    std::swap(words_, other->words_);
    std::swap(in_flight_, other->in_flight_);
  }
  explicit operator bool() const { return pool_ != nullptr; }
  // Where a READ lands, and what has landed: private memory once the READ has completed.
  SharedWord* words(size_t offset_bytes = 0) const { return words_ + offset_bytes / kWordBytes; }
  const uint64_t* landed(size_t offset_bytes = 0) const {
    return reinterpret_cast<const uint64_t*>(words(offset_bytes));
  }
  // Set around every wait for a READ that lands here.
  void set_in_flight(bool in_flight) { in_flight_ = in_flight; }

 private:
  LandingPool* pool_ = nullptr;
  SharedWord* words_ = nullptr;
  bool in_flight_ = false;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_LANDING_H_
