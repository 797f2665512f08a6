#include "kvs/transaction_home.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/limits.h"
#include "runtime/planted_bug.h"
#include "transport/address.h"

namespace acre::kvs {
namespace {

using Answer = TransactionVote::Answer;

// More are open at a time only where coordinators are slow.
constexpr size_t kIdlePlansMax = 32;

absl::Status Wrong(const TransactionId& id, absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(id.ToString(), " ", what));
}

TransactionVote Over(absl::Status status) {
  TransactionVote vote;
  vote.answer = Answer::kOver;
  vote.status = std::move(status);
  return vote;
}

Task<absl::Status> Refused(absl::Status status) { co_return status; }

absl::Status BeyondWindow(const TransactionId& id) {
  return absl::ResourceExhaustedError(
      absl::StrCat(id.ToString(), " is more than ", kTransactionWindow,
                   " behind one that may still come: truncate finished ones first"));
}

}  // namespace

TransactionHome::TransactionHome(Table* table, Scheduler* scheduler, TransactionHolders* holders,
                                 ContendedKeys* contended)
    : table_(table),
      holders_(holders),
      contended_(contended),
      locks_(std::make_unique<LockThread>(scheduler, table->lock_arena(), LockThread::Options{})) {}

TransactionHome::~TransactionHome() = default;

const TransactionHome::Record* TransactionHome::Find(const TransactionId& id) const {
  const auto thread = threads_.find(id.coordinator);
  if (thread == threads_.end()) return nullptr;
  const auto record = thread->second.records.find(id.sequence);
  return record == thread->second.records.end() ? nullptr : &record->second;
}

TransactionHome::Record* TransactionHome::Find(const TransactionId& id) {
  return const_cast<Record*>(std::as_const(*this).Find(id));
}

TransactionHome::Record* TransactionHome::FindOrMake(const TransactionId& id) {
  Thread& thread = threads_[id.coordinator];
  if (id.sequence < thread.finished_below) return nullptr;
  if (id.sequence - thread.finished_below >= kTransactionWindow) return nullptr;
  return &thread.records[id.sequence];
}

bool TransactionHome::IsTruncated(const TransactionId& id) const {
  const auto thread = threads_.find(id.coordinator);
  if (thread == threads_.end()) return false;
  if (id.sequence < thread->second.finished_below) return true;
  const Record* const record = Find(id);
  return record != nullptr && record->state == State::kTruncated;
}

bool TransactionHome::IsPromisedByClosing(const TransactionId& id) const {
  const auto thread = threads_.find(id.coordinator);
  return thread != threads_.end() && thread->second.is_closed &&
         id.sequence >= thread->second.finished_below &&
         !thread->second.records.contains(id.sequence);
}

TransactionHome::Record* TransactionHome::Begin(const TransactionId& id, TransactionVote* vote) {
  Thread& thread = threads_[id.coordinator];
  if (id.sequence < thread.finished_below) {
    *vote = Over(Wrong(id, "was finished and truncated"));
    return nullptr;
  }
  const auto at = thread.records.lower_bound(id.sequence);
  if (at != thread.records.end() && at->first == id.sequence) {
    *vote = AnswerAgain(at->second);
    return nullptr;
  }
  if (thread.is_closed) {
    *vote = Over(absl::AbortedError("the transaction's coordinator is being ended"));
    return nullptr;
  }
  if (id.sequence - thread.finished_below >= kTransactionWindow) {
    vote->answer = Answer::kNoMemory;
    vote->status = BeyondWindow(id);
    return nullptr;
  }
  return &thread.records.emplace_hint(at, id.sequence, Record())->second;
}

TransactionVote TransactionHome::AnswerAgain(const Record& record) {
  switch (record.state) {
    case State::kLocked:
      if (record.promised) break;
      return record.vote;
    case State::kVotedNo:
    case State::kCommitted:
      return record.vote;
    case State::kUnseen:
    case State::kAborted:
    case State::kTruncated:
      break;
  }
  return Over(
      absl::AbortedError("the transaction was aborted, or is being ended for its coordinator"));
}

TransactionVote TransactionHome::Lock(const TransactionId& id,
                                      absl::Span<const TransactionParticipant> participants,
                                      absl::Span<const TransactionWrite> writes,
                                      absl::Span<const ReadMark> misses,
                                      absl::optional<uint64_t> hold_id) {
  TransactionVote vote;
  Record* const record = Begin(id, &vote);
  if (record == nullptr) return vote;
  record->participants.assign(participants.begin(), participants.end());
  return LockInto(record, id, writes, misses, hold_id);
}

TransactionVote TransactionHome::LockInto(Record* record, const TransactionId& id,
                                          absl::Span<const TransactionWrite> writes,
                                          absl::Span<const ReadMark> misses,
                                          absl::optional<uint64_t> hold_id) {
  record->plan = TakePlan();
  record->vote = record->plan->Lock(id, FindHold(id.coordinator, hold_id), writes, misses);
  if (!record->vote.is_yes()) {
    record->state = State::kVotedNo;
    GivePlan(std::move(record->plan));
    Report(record->vote, writes);
    return record->vote;
  }
  record->state = State::kLocked;
  ++open_count_;
  return record->vote;
}

TransactionVote TransactionHome::CommitAtOnce(const TransactionId& id,
                                              absl::Span<const TransactionWrite> writes,
                                              absl::Span<const ReadMark> misses,
                                              absl::Span<const ReadMark> reads,
                                              absl::optional<uint64_t> hold_id) {
  TransactionVote vote;
  Record* const record = Begin(id, &vote);
  if (record == nullptr) return vote;
  vote = LockInto(record, id, writes, misses, hold_id);
  if (!vote.is_yes()) return vote;
  if (IsPlanted(PlantedBug::kCommitWithoutValidation) ||
      ReadsStand(reads, writes.size() + misses.size(), &vote)) {
    Install(record);
  } else {
    Undo(record);
    record->state = State::kVotedNo;
    record->vote = vote;
  }
  return vote;
}

bool TransactionHome::ReadsStand(absl::Span<const ReadMark> reads, size_t writes_count,
                                 TransactionVote* vote) const {
  for (size_t i = 0; i < reads.size(); ++i) {
    const GlobalAddress word = reads[i].word;
    vote->index = writes_count + i;
    Segment* segment = nullptr;
    for (const auto& candidate : table_->segments()) {
      if (candidate->region_id() == word.region_id()) segment = candidate.get();
    }
    // A peer's address: anywhere within buckets and heap will do, what stands there is only compared.
    const uint64_t offset = word.offset_bytes();
    if (segment == nullptr || offset % kWordBytes != 0 ||
        offset < segment->layout().buckets_offset_bytes ||
        offset >= segment->layout().heap_offset_bytes + segment->layout().heap_bytes) {
      vote->answer = Answer::kInvalid;
      vote->status = absl::InvalidArgumentError("a read of no word of this server's table");
      return false;
    }
    // Behind the marks of our own writes, as WritePlan::Lock() has seen to. Acquire: whoever wrote it is done.
    const uint64_t now = segment->words()[offset / kWordBytes].Load(std::memory_order_acquire);
    if (reads[i].IsStill(now)) continue;
    vote->answer = Answer::kChanged;
    vote->status = absl::AbortedError(
        "what the transaction read has changed since, or is locked: run it again");
    return false;
  }
  vote->index = 0;
  return true;
}

void TransactionHome::Report(const TransactionVote& vote,
                             absl::Span<const TransactionWrite> writes) {
  const bool is_conflict = vote.answer == Answer::kLocked || vote.answer == Answer::kChanged;
  if (contended_ == nullptr || !is_conflict || vote.index >= writes.size()) return;
  contended_->Report(writes[vote.index].key);
}

std::unique_ptr<WritePlan> TransactionHome::TakePlan() {
  if (idle_plans_.empty()) return std::make_unique<WritePlan>(table_, locks_.get(), holders_);
  std::unique_ptr<WritePlan> plan = std::move(idle_plans_.back());
  idle_plans_.pop_back();
  return plan;
}

void TransactionHome::GivePlan(std::unique_ptr<WritePlan> plan) {
  if (idle_plans_.size() < kIdlePlansMax) idle_plans_.push_back(std::move(plan));
}

void TransactionHome::Install(Record* record) {
  const std::shared_ptr<TransactionHold> hold = record->plan->hold();
  record->plan->Install();
  if (hold != nullptr) Release(hold->thread(), hold->id());
  GivePlan(std::move(record->plan));
  record->state = State::kCommitted;
  --open_count_;
}

void TransactionHome::Undo(Record* record) {
  record->plan->Undo();
  GivePlan(std::move(record->plan));
  record->state = State::kAborted;
  --open_count_;
}

absl::StatusOr<std::vector<MappedLock>> TransactionHome::LocksOf(
    absl::Span<const absl::string_view> keys) const {
  if (keys.empty() || keys.size() > kTransactionHoldKeysMax) {
    return absl::InvalidArgumentError(absl::StrCat("a transaction holds 1 to ",
                                                   kTransactionHoldKeysMax,
                                                   " keys of a server, not ", keys.size()));
  }
  std::vector<MappedLock> locks;
  locks.reserve(2 * keys.size());
  for (const absl::string_view key : keys) {
    if (absl::Status status = CheckKey(key); !status.ok()) return status;
    const uint64_t hash = HashKey(key);
    if (!table_->share().Holds(hash)) return NotOurKey(table_->share(), hash);
    Segment& segment = table_->SegmentOf(hash);
    const uint64_t home = HomeBucket(hash, segment.layout().buckets_count);
    locks.push_back(segment.LockOf(home));
    locks.push_back(segment.LockOf(home + 1));
  }
  std::sort(locks.begin(), locks.end(), [](const MappedLock& a, const MappedLock& b) {
    return a.address.bits() < b.address.bits();
  });
  const auto last =
      std::unique(locks.begin(), locks.end(),
                  [](const MappedLock& a, const MappedLock& b) { return a.address == b.address; });
  locks.erase(last, locks.end());
  return locks;
}

Task<absl::Status> TransactionHome::Hold(const TransactionThread& thread, uint64_t hold_id,
                                         absl::Span<const absl::string_view> keys,
                                         uint64_t deadline_ns) {
  absl::StatusOr<std::vector<MappedLock>> locks = LocksOf(keys);
  if (!locks.ok()) return Refused(locks.status());
  return Take(thread, hold_id, *std::move(locks), deadline_ns);
}

Task<absl::Status> TransactionHome::Take(TransactionThread thread, uint64_t hold_id,
                                         std::vector<MappedLock> locks, uint64_t deadline_ns) {
  if (const auto known = threads_.find(thread);
      known != threads_.end() && known->second.is_closed) {
    co_return absl::AbortedError("the transaction's coordinator is being ended");
  }
  if (const auto known = holds_.find(thread); known != holds_.end()) {
    if (known->second->id() == hold_id && known->second->is_granted()) co_return absl::OkStatus();
    co_return absl::FailedPreconditionError(
        "the thread has a hold here already, or waits for it: one at a time");
  }
  const auto hold = std::make_shared<TransactionHold>(locks_.get(), holders_, thread, hold_id);
  holds_[thread] = hold;
  // Also of a task that is destroyed. Another hold may have come behind one that was released.
  const absl::Cleanup forget = [this, &hold] {
    const auto known = holds_.find(hold->thread());
    if (known != holds_.end() && known->second == hold && !hold->is_granted()) holds_.erase(known);
  };
  Scheduler* const scheduler = locks_->scheduler();
  deadline_ns = std::min(deadline_ns, scheduler->NowNs() + kHoldNsMax);
  absl::Status status = co_await hold->TakeAll(std::move(locks), deadline_ns);
  if (status.ok()) {
    const uint64_t end_ns = scheduler->NowNs() + kHoldNsMax;
    hold->SetTimer(scheduler->Spawn(ReleaseAt(thread, hold_id, end_ns)));
  }
  co_return status;
}

Task<void> TransactionHome::ReleaseAt(TransactionThread thread, uint64_t hold_id,
                                      uint64_t time_ns) {
  co_await locks_->scheduler()->SleepUntil(time_ns);
  Release(thread, hold_id);
}

void TransactionHome::Release(const TransactionThread& thread, uint64_t hold_id) {
  const auto known = holds_.find(thread);
  if (known == holds_.end() || known->second->id() != hold_id) return;
  known->second->End();
  holds_.erase(known);
}

void TransactionHome::ReleaseHoldsOf(const TransactionThread& thread) {
  const auto known = holds_.find(thread);
  if (known != holds_.end()) Release(thread, known->second->id());
}

std::shared_ptr<TransactionHold> TransactionHome::FindHold(const TransactionThread& thread,
                                                           absl::optional<uint64_t> hold_id) const {
  if (!hold_id.has_value()) return nullptr;
  const auto known = holds_.find(thread);
  if (known == holds_.end() || known->second->id() != *hold_id) return nullptr;
  const std::shared_ptr<TransactionHold>& hold = known->second;
  return hold->is_granted() && !hold->is_lent() ? hold : nullptr;
}

absl::Status TransactionHome::Commit(const TransactionId& id) {
  Record* const record = Find(id);
  if (record == nullptr) return Wrong(id, "is to commit, and is not locked here");
  if (record->state == State::kCommitted) return absl::OkStatus();
  if (record->state != State::kLocked)
    return Wrong(id, "is to commit, and does not hold its locks");
  if (record->promised) return Wrong(id, "is to commit, and is being ended for its coordinator");
  Install(record);
  return absl::OkStatus();
}

absl::Status TransactionHome::Abort(const TransactionId& id) {
  // Over and truncated: a request that comes again.
  if (IsTruncated(id) || IsPromisedByClosing(id)) return absl::OkStatus();
  Record* const record = FindOrMake(id);
  if (record == nullptr) return BeyondWindow(id);
  switch (record->state) {
    case State::kCommitted:
      return Wrong(id, "is to abort, and is committed");
    case State::kLocked:
      Undo(record);
      return absl::OkStatus();
    case State::kUnseen:
    case State::kVotedNo:
      record->state = State::kAborted;
      return absl::OkStatus();
    case State::kAborted:
    case State::kTruncated:
      return absl::OkStatus();
  }
  LOG(FATAL) << "unreachable";
}

TransactionOutcome TransactionHome::Query(const TransactionId& id) const {
  const Record* const record = Find(id);
  if (record == nullptr) {
    return IsPromisedByClosing(id) ? TransactionOutcome::kPromised : TransactionOutcome::kUnknown;
  }
  switch (record->state) {
    case State::kUnseen:
      return TransactionOutcome::kPromised;
    case State::kLocked:
      return record->promised ? TransactionOutcome::kPromised : TransactionOutcome::kLocked;
    case State::kVotedNo:
    case State::kAborted:
      return TransactionOutcome::kAborted;
    case State::kCommitted:
      return TransactionOutcome::kCommitted;
    case State::kTruncated:
      return TransactionOutcome::kUnknown;
  }
  LOG(FATAL) << "unreachable";
}

TransactionOutcome TransactionHome::Promise(const TransactionId& id) {
  // However far it is from what was seen here: the coordinator was elsewhere meanwhile.
  if (IsPromisedByClosing(id)) return TransactionOutcome::kPromised;
  Record* const record = FindOrMake(id);
  // Finished, or beyond what this home would take a LOCK of: it says nothing of an outcome.
  if (record == nullptr) return TransactionOutcome::kUnknown;
  if (record->state == State::kUnseen || record->state == State::kLocked) record->promised = true;
  return Query(id);
}

absl::Status TransactionHome::Resolve(const TransactionId& id, bool commit) {
  if (!commit) return Abort(id);
  // What is known no more contradicts nobody.
  if (IsTruncated(id)) return absl::OkStatus();
  Record* const record = Find(id);
  if (record == nullptr) return Wrong(id, "is decided to commit, and is not known here");
  if (record->state == State::kCommitted) return absl::OkStatus();
  if (record->state != State::kLocked) {
    return Wrong(id, "is decided to commit, and never held its locks here");
  }
  Install(record);
  return absl::OkStatus();
}

absl::Status TransactionHome::Truncate(const TransactionThread& thread_id,
                                       absl::Span<const uint64_t> sequences,
                                       uint64_t finished_below) {
  const auto is_locked = [](const Record& record) { return record.state == State::kLocked; };
  Thread& thread = threads_[thread_id];
  if (sequences.empty() && finished_below <= thread.finished_below) return absl::OkStatus();
  const auto end = thread.records.lower_bound(finished_below);
  for (auto at = thread.records.begin(); at != end; ++at) {
    if (is_locked(at->second)) {
      return Wrong({thread_id, at->first}, "is to be truncated, and holds locks");
    }
  }
  for (const uint64_t sequence : sequences) {
    const auto record = thread.records.find(sequence);
    if (record != thread.records.end() && is_locked(record->second)) {
      return Wrong({thread_id, sequence}, "is to be truncated, and holds locks");
    }
  }
  thread.records.erase(thread.records.begin(), end);
  thread.finished_below = std::max(thread.finished_below, finished_below);
  for (const uint64_t sequence : sequences) {
    // Also one that is not known here, so that nothing of it is taken later. Null: below, or out of reach.
    Record* const record = FindOrMake({thread_id, sequence});
    if (record == nullptr) continue;
    *record = Record();
    record->state = State::kTruncated;
  }
  return absl::OkStatus();
}

void TransactionHome::CloseThread(const TransactionThread& thread) {
  threads_[thread].is_closed = true;
  ReleaseHoldsOf(thread);
}

std::vector<OpenTransaction> TransactionHome::OpenOf(const TransactionThread& thread) const {
  std::vector<OpenTransaction> open;
  const auto known = threads_.find(thread);
  if (known == threads_.end()) return open;
  for (const auto& [sequence, record] : known->second.records) {
    if (record.state != State::kLocked) continue;
    open.push_back(
        {{thread, sequence}, record.promised, record.participants, record.plan->writes_count()});
  }
  return open;
}

std::vector<TransactionParticipant> TransactionHome::ParticipantsOf(
    const TransactionThread& thread) const {
  std::vector<TransactionParticipant> all;
  const auto known = threads_.find(thread);
  if (known == threads_.end()) return all;
  for (const auto& [sequence, record] : known->second.records) {
    all.insert(all.end(), record.participants.begin(), record.participants.end());
  }
  std::sort(
      all.begin(), all.end(), [](const TransactionParticipant& a, const TransactionParticipant& b) {
        return std::tie(a.server_index, a.incarnation) < std::tie(b.server_index, b.incarnation);
      });
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

absl::Status TransactionHome::ForgetThread(const TransactionThread& thread) {
  const std::vector<OpenTransaction> open = OpenOf(thread);
  if (!open.empty()) return Wrong(open.front().id, "is to be forgotten, and holds locks");
  ReleaseHoldsOf(thread);
  threads_.erase(thread);
  return absl::OkStatus();
}

uint64_t TransactionHome::kept_count() const {
  uint64_t count = 0;
  for (const auto& [thread_id, thread] : threads_) count += thread.records.size();
  return count;
}

}  // namespace acre::kvs
