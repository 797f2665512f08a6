#include "lock/lock_keeper.h"

#include "glog/logging.h"

namespace acre {

LockKeeper::~LockKeeper() {
  if (runs_) task_.Cancel();
}

void LockKeeper::OnDeath(uint32_t process_id) {
  if (!known_.insert(process_id).second) return;
  dying_.push_back(process_id);
  if (runs_) return;
  runs_ = true;
  task_ = options_.scheduler->Spawn(Run());
}

Task<void> LockKeeper::Bury(uint32_t process_id) {
  co_await options_.fence->Close(process_id);
  if (options_.local != nullptr) options_.local->Adopt(process_id);
  if (options_.remote != nullptr) options_.remote->SetDead(process_id);
}

Task<void> LockKeeper::Run() {
  while (!dying_.empty()) {
    // All that are known to have died, before any queue is looked at.
    while (!dying_.empty()) {
      const uint32_t process_id = dying_.front();
      dying_.pop_front();
      co_await Bury(process_id);
    }
    if (options_.remote == nullptr) continue;
    uint32_t unresponsive = 0;
    const absl::Status repaired = co_await options_.remote->Repair(&unresponsive);
    if (repaired.ok()) continue;
    if (absl::IsInternal(repaired)) {
      // It ends, and closed its regions; else it could not even repair its own locks.
      LOG(ERROR) << "no queue of a lock is repaired any more: " << repaired;
      co_return;
    }
    LOG(WARNING) << "process " << unresponsive
                 << " does not answer while a queue of a lock is repaired, and counts as dead: "
                 << repaired;
    known_.insert(unresponsive);
    dying_.push_back(unresponsive);
  }
  runs_ = false;
}

}  // namespace acre
