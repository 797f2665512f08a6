#include "lock/lock_keeper.h"

#include "glog/logging.h"

namespace acre {
namespace {

constexpr uint64_t kMendAgainNs = 100'000'000;

}  // namespace

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

Task<void> LockKeeper::MendHome(absl::Status why) {
  // What was to be repaired still is.
  needs_repair_ = true;
  const absl::Status mended = co_await options_.fence->MendHome();
  if (mended.ok()) co_return;
  LOG_EVERY_N(ERROR, 100) << "locks whose holders died cannot be repaired now (" << why
                          << "), and the home cannot reach itself: " << mended;
  co_await options_.scheduler->SleepFor(kMendAgainNs);
}

Task<void> LockKeeper::Run() {
  while (!dying_.empty() || needs_repair_) {
    // All that are known to have died, before any queue is looked at.
    while (!dying_.empty()) {
      const uint32_t process_id = dying_.front();
      dying_.pop_front();
      co_await Bury(process_id);
    }
    if (options_.remote == nullptr) continue;
    needs_repair_ = false;
    uint32_t unresponsive = 0;
    const absl::Status repaired = co_await options_.remote->Repair(&unresponsive);
    if (repaired.ok()) continue;
    if (absl::IsInternal(repaired)) {
      co_await MendHome(repaired);
      continue;
    }
    LOG(WARNING) << "process " << unresponsive
                 << " does not answer while a queue of a lock is repaired, and counts as dead: "
                 << repaired;
    if (known_.insert(unresponsive).second) dying_.push_back(unresponsive);
  }
  runs_ = false;
}

}  // namespace acre
