#include "lock/locker.h"

#include "glog/logging.h"

namespace acre {

void* Locker::Unwrap(HeldLock* lock) {
  CHECK(lock->locker_ == this) << "this lock is another locker's, or none";
  lock->locker_ = nullptr;
  return lock->place_;
}

}  // namespace acre
