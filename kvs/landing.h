// Landings: places in our memory where READs land, handed out to the reads under way.
//
// Threads:   confined to the port's.
// Ownership: owns its region, borrows the port. A landing goes back when its guard does; one whose
//            task was destroyed with a READ under way, when that has ended too.
// Limits:    `count` landings, also if READs never end: then all further ones wait in Take(). Only READs
//            that somebody abandoned cost memory beyond the region, some bytes each, and the send queues
//            bound how many those are.

#ifndef ACRE_KVS_LANDING_H_
#define ACRE_KVS_LANDING_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"
#include "transport/fabric.h"
#include "transport/port.h"

namespace acre::kvs {

class LandingPool final : private transport::BufferOwner {
 public:
  // `count` landings of `bytes` each, a multiple of a cache line. READs into them go through `port`,
  // which outlives the pool. The errors of Fabric::CreateRegion.
  static absl::StatusOr<std::unique_ptr<LandingPool>> Create(transport::Fabric* fabric,
                                                             transport::Port* port,
                                                             uint32_t region_id, size_t count,
                                                             size_t bytes);
  ~LandingPool() override;

  class Landing;
  // Waits while all are taken. The pool outlives the landings.
  Task<Landing> Take();
  // Empty if all are taken.
  Landing TryTake();

  // Landings that somebody holds. Not those that only an abandoned READ keeps.
  size_t held_count() const { return count_ - free_.size() - only_abandoned_; }

  const transport::MemoryRegion* region() const { return region_.get(); }

 private:
  // A landing that a READ is under way to, whose task did not wait for it.
  struct Abandoned {
    SharedWord* landing;
    bool given_back = false;  // Its guard has gone: only the READ keeps it.
  };

  LandingPool(std::unique_ptr<transport::MemoryRegion> region, transport::Port* port, size_t count,
              size_t bytes);
  void OnAbandoned(SharedWord* local) override;
  void OnAbandonedEnd(SharedWord* local) override;
  // The landing that this word is in.
  SharedWord* LandingOf(SharedWord* local) const;
  void GiveBack(SharedWord* landing);
  void Free(SharedWord* landing);

  const std::unique_ptr<transport::MemoryRegion> region_;
  transport::Port* const port_;
  const size_t count_;
  const size_t landing_words_;
  std::vector<SharedWord*> free_;
  std::vector<Abandoned> abandoned_;
  size_t only_abandoned_ = 0;  // Landings in abandoned_ whose guard has gone.
  WaitQueue waiting_;
};

class LandingPool::Landing {
 public:
  Landing() = default;
  Landing(LandingPool* pool, SharedWord* words) : pool_(pool), words_(words) {}
  Landing(Landing&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), words_(other.words_) {}
  Landing& operator=(Landing&&) = delete;
  ~Landing() {
    if (pool_ != nullptr) pool_->GiveBack(words_);
  }

  void Swap(Landing* other) {
    std::swap(pool_, other->pool_);
    std::swap(words_, other->words_);
  }
  explicit operator bool() const { return pool_ != nullptr; }
  // Where a READ lands, and what has landed: private memory once the READ has completed.
  SharedWord* words(size_t offset_bytes = 0) const { return words_ + offset_bytes / kWordBytes; }
  const uint64_t* landed(size_t offset_bytes = 0) const {
    return reinterpret_cast<const uint64_t*>(words(offset_bytes));
  }

 private:
  LandingPool* pool_ = nullptr;
  SharedWord* words_ = nullptr;
};

inline void LandingPool::GiveBack(SharedWord* landing) {
  if (!abandoned_.empty()) [[unlikely]] {
    bool is_abandoned = false;
    for (Abandoned& abandoned : abandoned_) {
      if (abandoned.landing == landing) is_abandoned = abandoned.given_back = true;
    }
    if (is_abandoned) {
      ++only_abandoned_;
      return;
    }
  }
  Free(landing);
}

inline void LandingPool::Free(SharedWord* landing) {
  free_.push_back(landing);
  waiting_.NotifyOne();
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_LANDING_H_
