// How a coordinator commits: divided over homes; one home, one call; several homes, LOCK, VALIDATE, COMMIT. What calls
// it, and names, are in coordinator.cc.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/coordinator.h"
#include "kvs/hash.h"
#include "kvs/transaction_wire.h"
#include "runtime/await_all.h"
#include "runtime/deadline.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {
namespace {

TransactionWrite WriteOf(const TransactionRecord& record) {
  TransactionWrite write;
  write.kind = record.write == TransactionRecord::Write::kPut ? TransactionWrite::Kind::kPut
                                                              : TransactionWrite::Kind::kDelete;
  if (record.is_read) {
    write.expect =
        record.found ? TransactionWrite::Expect::kFound : TransactionWrite::Expect::kAbsent;
    write.mark = record.mark;
  }
  write.key = record.key;
  write.value = record.value;
  return write;
}

bool IsCut(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

// A number that is not finished while this lives.
class Coordinator::Unfinished {
 public:
  // There is a name.
  explicit Unfinished(Coordinator* coordinator)
      : coordinator_(coordinator),
        name_(coordinator->name_),
        id_{name_->thread, ++name_->last_sequence} {
    name_->unfinished.insert(id_.sequence);
  }
  ~Unfinished() {
    name_->unfinished.erase(id_.sequence);
    coordinator_->number_freed_.NotifyOne();
    const bool is_given_up = coordinator_->name_ != name_;
    if (is_given_up && name_->unfinished.empty()) coordinator_->Close(name_);
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  const TransactionId& id() const { return id_; }
  const std::shared_ptr<CoordinatorName>& name() const { return name_; }

 private:
  Coordinator* const coordinator_;
  const std::shared_ptr<CoordinatorName> name_;
  const TransactionId id_;
};

// ---- Who gets what.

absl::Status Coordinator::Divide(Work* work,
                                 const std::vector<std::shared_ptr<TransactionLink>>& links) const {
  work->parts.clear();
  work->reads.clear();
  const auto part_of = [work](size_t server) {
    return std::find_if(work->parts.begin(), work->parts.end(),
                        [server](const TransactionPart& part) { return part.server == server; });
  };
  for (size_t i = 0; i < work->records.size(); ++i) {
    const TransactionRecord& record = work->records[i];
    if (record.write == TransactionRecord::Write::kNone) continue;
    auto part = part_of(record.server);
    if (part == work->parts.end()) {
      part = work->parts.emplace(work->parts.end());
      part->server = record.server;
      part->link = links[record.server];
    }
    if (part->writes.size() == kTransactionWritesMax) {
      return absl::InvalidArgumentError(absl::StrCat("the transaction writes more than ",
                                                     kTransactionWritesMax, " keys of one server"));
    }
    part->writes.push_back(WriteOf(record));
    part->record_of.push_back(i);
  }
  if (work->parts.size() > kTransactionHomesMax) {
    return absl::InvalidArgumentError(absl::StrCat("the transaction writes to ", work->parts.size(),
                                                   " servers, more than ", kTransactionHomesMax));
  }
  for (size_t i = 0; i < work->records.size(); ++i) {
    const TransactionRecord& record = work->records[i];
    if (record.write != TransactionRecord::Write::kNone || !record.is_read) continue;
    const auto part = part_of(record.server);
    // A miss in the home bucket of a key that is written there: our own mark would spoil it for VALIDATE.
    const bool is_own_home =
        part != work->parts.end() && !record.found &&
        std::any_of(part->writes.begin(), part->writes.end(), [&](const TransactionWrite& write) {
          return part->link->StructureWord(HashKey(write.key)) == record.mark.word;
        });
    if (is_own_home) {
      part->misses.push_back(record.mark);
      part->record_of.push_back(i);
      continue;
    }
    auto reads = std::find_if(
        work->reads.begin(), work->reads.end(),
        [&record](const TransactionReads& each) { return each.server == record.server; });
    if (reads == work->reads.end()) {
      reads = work->reads.emplace(work->reads.end());
      reads->server = record.server;
      reads->link = links[record.server];
    }
    reads->marks.push_back(record.mark);
    reads->record_of.push_back(i);
  }
  for (const TransactionPart& part : work->parts) {
    if (part.misses.size() <= kTransactionReadsMax) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the transaction has found more than ", kTransactionReadsMax,
                     " keys absent beside keys that it writes to a server"));
  }
  // Room in their rings is set aside in this order, by everybody.
  std::sort(work->parts.begin(), work->parts.end(),
            [](const TransactionPart& a, const TransactionPart& b) { return a.server < b.server; });
  return absl::OkStatus();
}

// ---- What came of it.

void Coordinator::SetAborted(Work* work, AbortReason reason) {
  ++stats_.aborted[static_cast<size_t>(reason.phase)];
  work->status = AbortedBecause(reason);
  work->reason = std::move(reason);
}

void Coordinator::SetUnknown(Work* work, const absl::Status& why) {
  ++stats_.unknown;
  work->is_outcome_unknown = true;
  work->status =
      absl::UnavailableError(absl::StrCat("the transaction may or may not have been committed (",
                                          why.message(), "): read what it wrote to know"));
}

void Coordinator::SetNotCommitted(Work* work, const TransactionPart& part) {
  using Answer = TransactionVote::Answer;
  if (absl::IsDeadlineExceeded(part.status)) {
    return SetAborted(work, {AbortReason::Phase::kDeadline, "", ""});
  }
  // Of another view by now, or gone.
  if (absl::IsOutOfRange(part.status) || absl::IsUnavailable(part.status)) {
    return SetAborted(work, {AbortReason::Phase::kFenced, "", ""});
  }
  if (!part.status.ok()) {
    work->status = part.status;
    return;
  }
  const size_t writes_and_misses = part.writes.size() + part.misses.size();
  std::string key;
  if (part.vote.index < part.record_of.size()) {
    key = work->records[part.record_of[part.vote.index]].key;
  }
  const std::string winner = part.vote.winner.has_value() ? part.vote.winner->ToString() : "";
  const AbortReason::Phase phase = part.vote.index < writes_and_misses
                                       ? AbortReason::Phase::kLock
                                       : AbortReason::Phase::kValidate;
  switch (part.vote.answer) {
    case Answer::kYes:
      break;
    case Answer::kLocked:
    case Answer::kChanged:
      // Of what it writes the home knows itself.
      if (phase == AbortReason::Phase::kValidate) ReportContended(part.link, key);
      return SetAborted(work, {phase, std::move(key), winner});
    case Answer::kOver:
      RenewFrom(work->name.get());
      return SetAborted(work, {AbortReason::Phase::kFenced, "", ""});
    case Answer::kNoMemory:
    case Answer::kInvalid:
      work->status = part.vote.status;
      return;
  }
  LOG(FATAL) << "a yes is no reason to abort";
}

// ---- Commit.

Task<void> Coordinator::Commit(std::shared_ptr<Work> work, uint64_t deadline_ns) {
  absl::Status numbered = co_await AwaitNumber(deadline_ns);
  if (!numbered.ok()) {
    SetAborted(work.get(), {AbortReason::Phase::kDeadline, "", ""});
    co_return;
  }
  std::vector<std::shared_ptr<TransactionLink>> links(homes_->servers_count());
  for (const TransactionPart& part : work->parts) links[part.server] = part.link;
  SettleLinks(links);
  const bool is_at_one =
      work->parts.size() == 1 &&
      (work->reads.empty() ||
       (work->reads.size() == 1 && work->reads[0].server == work->parts[0].server &&
        work->reads[0].marks.size() <= kTransactionReadsMax));
  if (is_at_one) {
    co_await CommitAtOnce(std::move(work), deadline_ns);
    co_return;
  }
  // Brought to its end whether or not anybody waits for it: else locks would stay.
  auto unfinished = std::make_unique<Unfinished>(this);
  work->id = unfinished->id();
  work->name = unfinished->name();
  RunAside(CommitAcross(work, std::move(unfinished), deadline_ns));
  co_await work->ended.Wait();
}

Task<void> Coordinator::AskForVote(TransactionPart* part, Method method, uint64_t deadline_ns) {
  ++stats_.calls;
  part->status = co_await part->link->Call(method, part->request, &part->response, deadline_ns);
  if (!part->status.ok()) co_return;
  absl::StatusOr<TransactionVote> vote = ParseVote(part->response);
  part->status = vote.status();
  if (vote.ok()) part->vote = *std::move(vote);
}

Task<void> Coordinator::CommitAtOnce(std::shared_ptr<Work> work, uint64_t deadline_ns) {
  const Unfinished unfinished(this);
  work->id = unfinished.id();
  work->name = unfinished.name();
  TransactionPart& part = work->parts[0];
  absl::Span<const ReadMark> reads;
  if (!work->reads.empty()) {
    reads = work->reads[0].marks;
    part.record_of.insert(part.record_of.end(), work->reads[0].record_of.begin(),
                          work->reads[0].record_of.end());
  }
  if (!EncodeTransaction(work->id, work->name->FinishedBelow(), work->hold, {part.link->home()},
                         part.misses, reads, part.writes, &part.request)) {
    work->status = absl::InvalidArgumentError("the transaction writes more than 1 MiB to a server");
    co_return;
  }
  ++stats_.round_trips;
  co_await AskForVote(&part, Method::kTransactionAtOnce, deadline_ns);
  if (IsCut(part.status)) {
    SetUnknown(work.get(), part.status);
    co_return;
  }
  if (part.status.ok() && part.vote.is_yes()) {
    ++stats_.committed;
    co_return;
  }
  SetNotCommitted(work.get(), part);
}

Task<void> Coordinator::LockAt(const Work* work, TransactionPart* part, uint64_t finished_below,
                               uint64_t deadline_ns) {
  std::vector<TransactionParticipant> participants;
  for (const TransactionPart& each : work->parts) participants.push_back(each.link->home());
  if (!EncodeTransaction(work->id, finished_below, work->hold, participants, part->misses, {},
                         part->writes, &part->request)) {
    part->status = absl::InvalidArgumentError("the transaction writes more than 1 MiB to a server");
    co_return;
  }
  part->was_asked = true;
  co_await AskForVote(part, Method::kTransactionLock, deadline_ns);
}

Task<bool> Coordinator::LockAll(Work* work, uint64_t deadline_ns) {
  const uint64_t finished_below = work->name->FinishedBelow();
  // Room for what ends it, before anything is locked: so that no ring that is full keeps locks held.
  for (TransactionPart& part : work->parts) {
    part.status = co_await part.link->Reserve(&part.room, deadline_ns);
    if (!part.status.ok()) {
      SetNotCommitted(work, part);
      co_return false;
    }
  }
  ++stats_.round_trips;
  std::vector<Task<void>> locking;
  for (TransactionPart& part : work->parts) {
    locking.push_back(LockAt(work, &part, finished_below, deadline_ns));
  }
  Task<void> all = AwaitAll(scheduler_, std::move(locking));
  co_await std::move(all);
  // What says most comes first: a no that names a key.
  const auto failed = [](const TransactionPart& part) {
    return part.status.ok() && !part.vote.is_yes();
  };
  auto no = std::find_if(work->parts.begin(), work->parts.end(), failed);
  if (no == work->parts.end()) {
    no = std::find_if(work->parts.begin(), work->parts.end(),
                      [](const TransactionPart& part) { return !part.status.ok(); });
  }
  if (no == work->parts.end()) co_return true;
  SetNotCommitted(work, *no);
  co_return false;
}

Task<bool> Coordinator::ValidateAll(Work* work, uint64_t deadline_ns) {
  if (work->reads.empty() || IsPlanted(PlantedBug::kCommitWithoutValidation)) co_return true;
  ++stats_.round_trips;
  std::vector<Task<void>> validating;
  for (TransactionReads& reads : work->reads) {
    stats_.commit_validations += reads.marks.size();
    validating.push_back(reads.Validate(deadline_ns));
  }
  Task<void> all = AwaitAll(scheduler_, std::move(validating));
  co_await std::move(all);
  for (const TransactionReads& reads : work->reads) {
    if (reads.changed.has_value()) {
      const std::string& key = work->records[reads.record_of[*reads.changed]].key;
      ReportContended(reads.link, key);
      SetAborted(work, {AbortReason::Phase::kValidate, key, ""});
      co_return false;
    }
  }
  for (const TransactionReads& reads : work->reads) {
    if (reads.status.ok()) continue;
    SetAborted(work, {absl::IsDeadlineExceeded(reads.status) ? AbortReason::Phase::kDeadline
                                                             : AbortReason::Phase::kFenced,
                      "", ""});
    co_return false;
  }
  co_return true;
}

Task<void> Coordinator::TellAt(const Work* work, TransactionPart* part, Method method,
                               uint64_t finished_below, uint64_t deadline_ns) {
  ++stats_.notices;
  Task<absl::Status> told =
      part->link->Notify(method, std::move(part->room), EncodeNotice(work->id, finished_below));
  part->status = co_await WithDeadline(*scheduler_, deadline_ns, std::move(told));
}

Task<void> Coordinator::AbortAll(Work* work, uint64_t deadline_ns) {
  const uint64_t finished_below = work->name->FinishedBelow();
  std::vector<Task<void>> telling;
  for (TransactionPart& part : work->parts) {
    // Who voted no has nothing of it, and is sure that it never commits.
    const bool voted_no = part.status.ok() && !part.vote.is_yes();
    if (!part.was_asked || voted_no) continue;
    telling.push_back(TellAt(work, &part, Method::kTransactionAbort, finished_below, deadline_ns));
  }
  if (telling.empty()) co_return;
  ++stats_.round_trips;
  Task<void> all = AwaitAll(scheduler_, std::move(telling));
  co_await std::move(all);
  // One that may not have got it ends the transaction by itself, and asks the others: which must go on knowing of it.
  const bool all_know =
      std::all_of(work->parts.begin(), work->parts.end(),
                  [](const TransactionPart& part) { return !part.was_asked || part.status.ok(); });
  if (!all_know) Lose(work);
}

Task<void> Coordinator::CommitAcross(std::shared_ptr<Work> work,
                                     std::unique_ptr<Unfinished> /*unfinished*/,
                                     uint64_t deadline_ns) {
  bool commits = co_await LockAll(work.get(), deadline_ns);
  // Behind all votes: what still stands now stood while all locks were held.
  if (commits) commits = co_await ValidateAll(work.get(), deadline_ns);
  if (!commits) {
    co_await AbortAll(work.get(), deadline_ns);
    for (TransactionPart& part : work->parts) part.room = {};
    work->ended.Set();
    co_return;
  }
  ++stats_.round_trips;
  const uint64_t finished_below = work->name->FinishedBelow();
  std::vector<Task<void>> telling;
  for (TransactionPart& part : work->parts) {
    telling.push_back(
        TellAt(work.get(), &part, Method::kTransactionCommit, finished_below, deadline_ns));
    // The plant: the user is told when the first home was.
    if (IsPlanted(PlantedBug::kSuccessAtFirstAck) && telling.size() == 1) {
      co_await std::move(telling[0]);
      telling.clear();
      if (part.status.ok()) work->ended.Set();
    }
  }
  Task<void> all = AwaitAll(scheduler_, std::move(telling));
  co_await std::move(all);
  const auto untold = std::find_if(work->parts.begin(), work->parts.end(),
                                   [](const TransactionPart& part) { return !part.status.ok(); });
  if (untold == work->parts.end()) {
    ++stats_.committed;
  } else {
    SetUnknown(work.get(), untold->status);
    Lose(work.get());
  }
  work->ended.Set();
}

}  // namespace acre::kvs
