#include "lock/locker.h"

#include "glog/logging.h"

namespace acre {

void* Locker::PlaceOf(const HeldLock& lock) const {
  CHECK(lock.locker_ == this) << "this lock is another locker's, or none";
  return lock.place_;
}

void* Locker::Unwrap(HeldLock* lock) {
  void* const place = PlaceOf(*lock);
  lock->locker_ = nullptr;
  return place;
}

}  // namespace acre
