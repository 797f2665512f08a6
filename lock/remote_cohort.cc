#include "lock/remote_cohort.h"

#include <cstddef>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre {
namespace {

using transport::CompletionStatus;
using transport::Opcode;
using transport::WorkRequest;

constexpr uint32_t kWordsOfLine = sizeof(LockWords) / kWordBytes;
constexpr size_t kLocalTail = offsetof(LockWords, local_tail) / kWordBytes;
constexpr size_t kVictim = offsetof(LockWords, victim) / kWordBytes;

}  // namespace

RemoteCohort::RemoteCohort(const Options& options)
    : options_(options), scheduler_(options.port->scheduler()) {
  CHECK(options_.budget >= 1 && options_.budget <= LockBudgets::kMax);
}

bool RemoteCohort::home_is_lost() const {
  return options_.home->queue_pair->state() == transport::QueuePairState::kBroken;
}

absl::Status RemoteCohort::Prepare(Place* place, GlobalAddress lock, Goal goal) {
  const transport::RemoteKey* const key = FindLockKey(options_.home->regions, lock);
  if (key == nullptr) {
    return absl::UnavailableError(absl::StrCat("the home has no locks in region ", lock.region_id(),
                                               ": ask where the lock is now"));
  }
  place->lock = lock;
  place->lock_key = *key;
  place->phase = Phase::kOutside;
  place->goal = goal;
  place->expected = RemoteWord();
  place->pause.Reset();
  options_.descriptors->Begin(place->word);
  return absl::OkStatus();
}

WorkRequest RemoteCohort::Request(const Place& place, Opcode opcode, SharedWord* local,
                                  uint32_t words, uint64_t offset_bytes) const {
  WorkRequest request;
  request.opcode = opcode;
  request.local = local;
  request.local_region = place.landing_region;
  request.length_bytes = words * static_cast<uint32_t>(kWordBytes);
  request.remote_key = place.lock_key;
  request.remote_offset_bytes = offset_bytes;
  return request;
}

WorkRequest RemoteCohort::CompareSwapTail(const Place& place, uint64_t compare,
                                          uint64_t swap) const {
  WorkRequest request = Request(place, Opcode::kCompareSwap, &place.landing->old, 1,
                                place.lock.offset_bytes() + offsetof(LockWords, remote_tail));
  place.landing->old.Store(kNoAnswer, std::memory_order_relaxed);
  request.compare = compare;
  request.swap_or_add = swap;
  return request;
}

Task<void> RemoteCohort::Execute(Place* place, absl::Span<WorkRequest> batch) {
  const CompletionStatus status = co_await options_.port->Execute(options_.home->queue_pair, batch);
  if (status != CompletionStatus::kOk) place->phase = Phase::kLost;
}

Task<void> RemoteCohort::Enqueue(Place* place) {
  absl::InlinedVector<WorkRequest, 3> batch;
  Landing* const landing = place->landing;
  if (options_.home->intents.has_value()) {
    // A2, before A3 on the same queue pair: whoever finds the word in the queue finds this, too.
    const LockIntent intent = LockIntent::Of(place->word, place->lock, place->expected);
    static_assert(sizeof(intent) == sizeof(landing->intent));
    CopyToShared(landing->intent, &intent.word, 4, CopyOrder::kAscending);
    batch.push_back(
        Request(*place, Opcode::kWrite, landing->intent, 4, LockIntentOffset(place->word)));
    batch.back().remote_key = *options_.home->intents;
  }
  // A3. Other remote threads' COMPARE_SWAPs come before or after it; local leaders load the word in B1 and B3.
  batch.push_back(CompareSwapTail(*place, place->expected.bits(), place->word.bits()));
  if (place->expected.is_null() && options_.kind == LockKind::kALock) {
    // B1. Behind an atomic on the same queue pair: sampled when every CPU of the home sees our flag (F3).
    batch.push_back(
        Request(*place, Opcode::kRead, landing->line, kWordsOfLine, place->lock.offset_bytes()));
  }
  place->phase = Phase::kEnqueued;
  co_await Execute(place, absl::MakeSpan(batch));
  if (place->phase == Phase::kEnqueued) JudgeEnqueue(place);
}

void RemoteCohort::JudgeEnqueue(Place* place) {
  const uint64_t old = place->landing->old.Load(std::memory_order_relaxed);
  if (old != place->expected.bits()) {
    // The other one's word is what the tail held a moment ago, the best guess for the next try.
    if (options_.kind != LockKind::kSpin) place->expected = RemoteWord::FromBits(old);
    place->phase = Phase::kOutside;
    return;
  }
  if (place->expected.is_null()) options_.descriptors->SetGranted(place->word);
  if (!place->expected.is_null()) {
    place->phase = Phase::kLinking;
  } else if (options_.kind == LockKind::kALock) {
    place->phase = Phase::kLeading;
    JudgeLine(place);
  } else {
    Enter(place, options_.budget);
  }
}

void RemoteCohort::Enter(Place* place, uint32_t budget) {
  place->budget = budget;
  place->phase = Phase::kHeld;
}

// B1 and B3, of the line that has landed. Its words were sampled in any order: each of them is reason enough.
void RemoteCohort::JudgeLine(Place* place) {
  const SharedWord* const line = place->landing->line;
  const bool other_is_absent = line[kLocalTail].Load(std::memory_order_relaxed) == 0;
  const bool may_enter = other_is_absent || (place->phase == Phase::kContending &&
                                             line[kVictim].Load(std::memory_order_relaxed) !=
                                                 static_cast<uint64_t>(Cohort::kRemote));
  if (may_enter && place->goal != Goal::kLeave) return Enter(place, options_.budget);
  // A leader that gives up, or only tried: its successor leads.
  if (place->goal != Goal::kHold) GiveUpLead(place);
}

Task<void> RemoteCohort::ReadLine(Place* place, bool become_victim) {
  std::array<WorkRequest, 2> batch;
  size_t count = 0;
  if (become_victim) {
    batch[count++] = BecomeVictim(*place);
  }
  batch[count++] = Request(*place, Opcode::kRead, place->landing->line, kWordsOfLine,
                           place->lock.offset_bytes());
  co_await Execute(place, absl::MakeSpan(batch).first(count));
}

void RemoteCohort::JudgeGrant(Place* place) {
  const absl::optional<uint32_t> budget = options_.descriptors->TakeGrant(place->word);
  if (!budget.has_value()) return;
  if (*budget > 0) return Enter(place, *budget);
  place->phase = Phase::kAsking;
}

void RemoteCohort::StartLeaving(Place* place, uint32_t grant) {
  place->budget = grant;
  place->gives_up = false;
  place->phase = Phase::kLeaving;
  place->pause.Reset();
}

void RemoteCohort::GiveUpLead(Place* place) {
  StartLeaving(place, /*grant=*/0);
  // Else a local leader that was the last to do B2 waits for as long as remote ones come, lead, and give up.
  place->gives_up = options_.kind == LockKind::kALock;
}

WorkRequest RemoteCohort::BecomeVictim(const Place& place) const {
  // B2, when A3 is known to have succeeded, never in its batch. Local leaders load it in B3. It completes before
  // anybody else is granted leadership: every step awaits its requests.
  place.landing->out.Store(static_cast<uint64_t>(Cohort::kRemote), std::memory_order_relaxed);
  return Request(place, Opcode::kWrite, &place.landing->out, 1,
                 place.lock.offset_bytes() + offsetof(LockWords, victim));
}

Task<void> RemoteCohort::Leave(Place* place, absl::Span<const WorkRequest> data) {
  if (place->phase == Phase::kHeld) StartLeaving(place, place->budget - 1);
  CHECK(place->phase == Phase::kLeaving);
  absl::InlinedVector<WorkRequest, 5> batch(data.begin(), data.end());
  if (place->gives_up) batch.push_back(BecomeVictim(*place));
  bool try_again = false;
  if (options_.descriptors->Successor(place->word, &try_again).is_null()) {
    // R1. Behind the data on the same queue pair: a local thread that sees the tail 0 sees them, and our
    // completion proves that they have completed, should a successor be granted.
    batch.push_back(CompareSwapTail(*place, place->word.bits(), 0));
    place->phase = Phase::kLeft;
    co_await Execute(place, absl::MakeSpan(batch));
    if (place->phase == Phase::kLeft) JudgeLeave(place);
    co_return;
  }
  // The grant goes to another process: the data first.
  if (!batch.empty()) {
    place->phase = Phase::kFlushing;
    co_await Execute(place, absl::MakeSpan(batch));
    if (place->phase == Phase::kLost) co_return;
  }
  place->phase = Phase::kHandingOn;
}

void RemoteCohort::JudgeLeave(Place* place) {
  const bool left = place->landing->old.Load(std::memory_order_relaxed) == place->word.bits();
  if (left) options_.descriptors->SetLeft(place->word);
  place->phase = left ? Phase::kOutside : Phase::kAwaitNext;
}

Task<bool> RemoteCohort::Tell(Place* place, RemoteWord peer, uint64_t offset_bytes,
                              uint64_t value) {
  const absl::StatusOr<LockPeers::Peer> found = co_await options_.peers->Find(peer.process_id());
  if (!found.ok()) {
    options_.peers->OnUnreachable(peer.process_id());
    co_return false;
  }
  place->landing->out.Store(value, std::memory_order_relaxed);
  WorkRequest request = Request(*place, Opcode::kWrite, &place->landing->out, 1, offset_bytes);
  request.remote_key = found->descriptors;
  const CompletionStatus status = co_await options_.port->Execute(found->queue_pair, {&request, 1});
  if (status != CompletionStatus::kOk) options_.peers->OnUnreachable(peer.process_id());
  co_return status == CompletionStatus::kOk;
}

Task<void> RemoteCohort::Link(Place* place) {
  // A4. The predecessor loads it in R1, R2.
  const RemoteWord pred = place->expected;
  if (pred.process_id() == options_.descriptors->process_id()) {
    options_.descriptors->Link(pred, place->word);
  } else {
    // If it does not get there the home sees to it: this place is in the queue, whoever stands before it.
    (void)co_await Tell(place, pred, RemoteDescriptors::NextOffset(pred), place->word.bits());
  }
  place->phase = Phase::kWaiting;
}

Task<void> RemoteCohort::HandOn(Place* place) {
  // R3. The successor spins on it. Our data have completed.
  const RemoteWord next = options_.descriptors->TakeSuccessor(place->word);
  if (next.is_null()) {
    // The home has begun to repair the queue behind us.
    place->phase = Phase::kAwaitNext;
    co_return;
  }
  const LockGrant grant = LockGrant::Of(next.sequence(), place->budget);
  if (next.process_id() == options_.descriptors->process_id()) {
    options_.descriptors->Grant(next, grant);
  } else {
    const bool is_told =
        co_await Tell(place, next, RemoteDescriptors::GrantOffset(next), grant.bits());
    // One of the two will be fenced, and if it is us the home must find that `next` stands behind us.
    if (!is_told) options_.descriptors->Spoil(place->word);
  }
  place->phase = Phase::kOutside;
}

void RemoteCohort::AwaitNext(Place* place) {
  bool try_again = false;
  if (!options_.descriptors->Successor(place->word, &try_again).is_null()) {
    place->phase = Phase::kHandingOn;
  } else if (try_again) {
    place->phase = Phase::kLeaving;
  }
}

Task<void> RemoteCohort::Step(Place* place) {
  switch (place->phase) {
    case Phase::kOutside:
      // What makes an ALock or an MCS lock try again is that another got in. A spin lock tries for as long as it
      // is held.
      if (options_.kind == LockKind::kSpin) co_await place->pause.Take(scheduler_);
      co_await Enqueue(place);
      break;
    case Phase::kEnqueued:
      JudgeEnqueue(place);
      break;
    case Phase::kLinking:
      co_await Link(place);
      break;
    case Phase::kWaiting:
      JudgeGrant(place);
      if (place->phase == Phase::kWaiting) co_await place->pause.Take(scheduler_);
      break;
    case Phase::kAsking:
      place->phase = Phase::kLeading;
      co_await ReadLine(place, /*become_victim=*/false);
      if (place->phase == Phase::kLeading) JudgeLine(place);
      break;
    case Phase::kLeading:
      place->phase = Phase::kContending;
      co_await ReadLine(place, /*become_victim=*/true);
      if (place->phase == Phase::kContending) JudgeLine(place);
      break;
    case Phase::kContending:
      co_await place->pause.Take(scheduler_);
      co_await ReadLine(place, /*become_victim=*/false);
      if (place->phase == Phase::kContending) JudgeLine(place);
      break;
    case Phase::kHeld:
      StartLeaving(place, place->budget - 1);
      break;
    case Phase::kLeaving:
      co_await Leave(place, {});
      break;
    case Phase::kLeft:
      JudgeLeave(place);
      break;
    case Phase::kFlushing:
      // Completions of a queue pair come in order: this one's says that the data have completed.
      place->phase = Phase::kHandingOn;
      co_await ReadLine(place, /*become_victim=*/false);
      break;
    case Phase::kAwaitNext:
      AwaitNext(place);
      if (place->phase == Phase::kAwaitNext) co_await place->pause.Take(scheduler_);
      break;
    case Phase::kHandingOn:
      co_await HandOn(place);
      break;
    case Phase::kLost:
      break;
  }
}

Task<void> RemoteCohort::Run(Place* place) {
  while (true) {
    if (home_is_lost()) place->phase = Phase::kLost;
    if (place->phase == Phase::kLost) co_return;
    if (place->phase == Phase::kHeld && place->goal != Goal::kLeave) co_return;
    if (place->phase == Phase::kOutside && place->goal != Goal::kHold) co_return;
    // A leader that waits for the other cohort, and is to leave.
    const bool asks_the_other = place->phase == Phase::kAsking || place->phase == Phase::kLeading ||
                                place->phase == Phase::kContending;
    if (place->goal == Goal::kLeave && asks_the_other) GiveUpLead(place);
    co_await Step(place);
  }
}

}  // namespace acre
