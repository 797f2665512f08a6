#include "lock/remote_repair.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre {
namespace {

// A queue has no more places than descriptors exist; words that a peer broke may lead in circles.
constexpr size_t kQueueMax = 1 << 16;

// Whatever a survivor says instead of an answer: it does not answer.
absl::Status Silent(const absl::Status& status) {
  return absl::UnavailableError(absl::StrCat("no answer: ", status.ToString()));
}

}  // namespace

RemoteRepair::RemoteRepair(Options options) : options_(std::move(options)) {}

void RemoteRepair::AddProcess(uint32_t process_id, const SharedWord* intents,
                              uint32_t descriptors_count) {
  CHECK(!processes_.contains(process_id));
  processes_[process_id] = {intents, descriptors_count};
}

void RemoteRepair::SetDead(uint32_t process_id) {
  const bool is_known = std::find(dead_.begin(), dead_.end(), process_id) != dead_.end();
  if (!is_known && processes_.contains(process_id)) dead_.push_back(process_id);
}

void RemoteRepair::SetLoopback(transport::QueuePair* loopback, LockRegionKeys keys) {
  options_.loopback = loopback;
  options_.keys = std::move(keys);
}

void RemoteRepair::RemoveProcess(uint32_t process_id) {
  processes_.erase(process_id);
  std::erase(dead_, process_id);
}

bool RemoteRepair::IsDead(RemoteWord word) const {
  return std::find(dead_.begin(), dead_.end(), word.process_id()) != dead_.end();
}

absl::optional<LockIntent> RemoteRepair::Read(RemoteWord word) const {
  const auto found = processes_.find(word.process_id());
  if (found == processes_.end() || word.index() >= found->second.descriptors_count) {
    return absl::nullopt;
  }
  LockIntent intent;
  // WRITTEN before the COMPARE_SWAP that put `word` where we found it (A2, A3), and then only for a later one.
  CopyFromShared(&intent.word, found->second.intents + LockIntentOffset(word) / kWordBytes,
                 sizeof(intent) / kWordBytes, CopyOrder::kAscending);
  if (!intent.IsWhole() || intent.word != word.bits()) return absl::nullopt;
  return intent;
}

std::vector<RemoteWord> RemoteRepair::ReadQueue(GlobalAddress lock) const {
  std::vector<RemoteWord> queue;
  const LockWords* const words = FindLock(options_.regions, lock);
  if (words == nullptr) return queue;
  RemoteWord at = RemoteWord::FromBits(words->remote_tail.Load(std::memory_order_acquire));
  while (!at.is_null() && queue.size() < kQueueMax) {
    const absl::optional<LockIntent> intent = Read(at);
    if (!intent.has_value() || intent->lock != lock.bits()) break;
    queue.push_back(at);
    at = RemoteWord::FromBits(intent->pred);
  }
  return queue;
}

std::vector<RemoteRepair::Run> RemoteRepair::RunsIn(const RemoteRepair& repair,
                                                    const std::vector<RemoteWord>& queue) {
  std::vector<Run> runs;
  Run run;
  // From the head, so that what comes first in the queue is repaired first.
  for (size_t i = queue.size(); i-- > 0;) {
    if (repair.IsDead(queue[i])) {
      run.dead.push_back(queue[i]);
      continue;
    }
    if (!run.dead.empty()) {
      run.behind = queue[i];
      runs.push_back(std::exchange(run, Run()));
    }
    run.before = queue[i];
  }
  if (!run.dead.empty()) runs.push_back(run);
  return runs;
}

Task<absl::StatusOr<bool>> RemoteRepair::SwapTail(GlobalAddress lock, RemoteWord from,
                                                  RemoteWord to) {
  const transport::RemoteKey* const key = FindLockKey(options_.keys, lock);
  CHECK(key != nullptr) << "no key for region " << lock.region_id();
  transport::WorkRequest request;
  request.opcode = transport::Opcode::kCompareSwap;
  request.local = options_.landing;
  request.local_region = options_.landing_region;
  request.length_bytes = kWordBytes;
  request.remote_key = *key;
  request.remote_offset_bytes = lock.offset_bytes() + offsetof(LockWords, remote_tail);
  request.compare = from.bits();
  request.swap_or_add = to.bits();
  const transport::CompletionStatus status =
      co_await options_.port->Execute(options_.loopback, {&request, 1});
  if (status != transport::CompletionStatus::kOk) {
    co_return absl::InternalError(
        absl::StrCat("the home's own queue pair broke: ", transport::CompletionStatusName(status)));
  }
  co_return options_.landing->Load(std::memory_order_relaxed) == from.bits();
}

Task<absl::StatusOr<bool>> RemoteRepair::RepairRun(GlobalAddress lock, const Run& run) {
  RemoteWord before = run.before;
  const std::vector<uint32_t> dead = dead_;
  if (!before.is_null()) {
    unresponsive_ = before.process_id();
    const absl::StatusOr<bool> stands_by =
        co_await options_.survivors->StandBy(before, dead);  // M1.
    if (!stands_by.ok()) co_return Silent(stands_by.status());
    if (!*stands_by) before = RemoteWord();
  }
  if (before.is_null() && !run.behind.is_null()) {
    unresponsive_ = run.behind.process_id();
    const absl::StatusOr<bool> has_grant =
        co_await options_.survivors->HasGrant(run.behind, dead);  // M5.
    if (!has_grant.ok()) co_return Silent(has_grant.status());
    if (*has_grant) co_return true;
  }
  if (before.is_null()) options_.data->RepairRemote(lock, run.dead);
  if (run.behind.is_null()) {
    const absl::StatusOr<bool> swapped = co_await SwapTail(lock, run.dead.back(), before);  // M2.
    if (!swapped.ok()) co_return swapped.status();
    if (!*swapped) co_return false;
  }
  absl::Status told;
  if (!before.is_null()) {
    unresponsive_ = before.process_id();
    told = co_await options_.survivors->SetSuccessor(before, run.behind);  // M3, M4.
  } else if (!run.behind.is_null()) {
    unresponsive_ = run.behind.process_id();
    told = co_await options_.survivors->GrantLeadership(run.behind);  // M5.
  }
  if (!told.ok()) co_return Silent(told);
  ++repaired_count_;
  co_return true;
}

Task<absl::StatusOr<bool>> RemoteRepair::RepairLock(GlobalAddress lock) {
  for (const Run& run : RunsIn(*this, ReadQueue(lock))) {
    const absl::StatusOr<bool> done = co_await RepairRun(lock, run);
    if (!done.ok() || !*done) co_return done;
  }
  co_return true;
}

void RemoteRepair::AddLocksOf(const Process& process, uint32_t process_id,
                              std::set<uint64_t>* locks) const {
  for (uint32_t index = 0; index < process.descriptors_count; ++index) {
    const SharedWord* const words =
        process.intents + LockIntentOffset(RemoteWord(process_id, index, 0)) / kWordBytes;
    const absl::optional<LockIntent> intent =
        Read(RemoteWord::FromBits(words->Load(std::memory_order_acquire)));
    if (intent.has_value()) locks->insert(intent->lock);
  }
}

std::vector<std::pair<GlobalAddress, std::vector<RemoteWord>>> RemoteRepair::AwaitedQueues(
    const std::function<bool(GlobalAddress lock)>& is_awaited) const {
  std::set<uint64_t> locks;
  for (const auto& [process_id, process] : processes_) AddLocksOf(process, process_id, &locks);
  std::vector<std::pair<GlobalAddress, std::vector<RemoteWord>>> awaited;
  for (const uint64_t bits : locks) {
    const GlobalAddress lock = GlobalAddress::FromBits(bits);
    std::vector<RemoteWord> queue = ReadQueue(lock);
    if (queue.empty()) continue;
    const LockWords& words = *FindLock(options_.regions, lock);
    const bool local_waits = words.local_tail.Load(std::memory_order_relaxed) != 0;
    // B3: whoever was the last to do B2 waits for the other. A local one does it within a moment.
    const bool waits_for_local = local_waits && words.victim.Load(std::memory_order_relaxed) !=
                                                    static_cast<uint64_t>(Cohort::kLocal);
    const bool is_needed = queue.size() > 1 || local_waits || is_awaited(lock);
    if (is_needed && !waits_for_local) awaited.emplace_back(lock, std::move(queue));
  }
  return awaited;
}

Task<absl::Status> RemoteRepair::Repair(uint32_t* unresponsive) {
  std::set<uint64_t> locks;
  for (const uint32_t process_id : dead_) {
    const auto found = processes_.find(process_id);
    if (found != processes_.end()) AddLocksOf(found->second, process_id, &locks);
  }
  for (const uint64_t lock : locks) {
    absl::StatusOr<bool> done = false;
    while (done.ok() && !*done) done = co_await RepairLock(GlobalAddress::FromBits(lock));
    if (!done.ok()) {
      *unresponsive = unresponsive_;
      co_return done.status();
    }
  }
  co_return absl::OkStatus();
}

bool RemoteRepair::IsForgettable(uint32_t process_id) const {
  const auto found = processes_.find(process_id);
  if (found == processes_.end()) return true;
  for (uint32_t index = 0; index < found->second.descriptors_count; ++index) {
    const SharedWord* const words =
        found->second.intents + LockIntentOffset(RemoteWord(process_id, index, 0)) / kWordBytes;
    const RemoteWord word = RemoteWord::FromBits(words->Load(std::memory_order_acquire));
    const absl::optional<LockIntent> intent = Read(word);
    if (!intent.has_value()) continue;
    const std::vector<RemoteWord> queue = ReadQueue(GlobalAddress::FromBits(intent->lock));
    if (std::find(queue.begin(), queue.end(), word) != queue.end()) return false;
  }
  return true;
}

}  // namespace acre
