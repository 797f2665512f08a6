// The reads and writes of a transaction that runs. Its commit is in coordinator_commit.cc.

#include "kvs/transaction.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/coordinator.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/limits.h"
#include "runtime/await_all.h"

namespace acre::kvs {
namespace {

constexpr size_t kKeyBytesShown = 64;

std::string Shown(absl::string_view key) {
  const bool is_cut = key.size() > kKeyBytesShown;
  return absl::StrCat("\"", absl::CHexEscape(key.substr(0, kKeyBytesShown)),
                      is_cut ? "...\"" : "\"");
}

bool IsAnswer(const absl::Status& status) { return status.ok() || absl::IsNotFound(status); }

absl::string_view WhatHappened(AbortReason::Phase phase) {
  switch (phase) {
    case AbortReason::Phase::kNone:
      return "for no reason";
    case AbortReason::Phase::kRead:
      return "while it ran: something that it reads is locked, or has changed since it was read";
    case AbortReason::Phase::kLock:
      return "at its locks: something that it writes is locked, or has changed since it was read";
    case AbortReason::Phase::kValidate:
      return "at its commit: something that it only read is locked, or has changed";
    case AbortReason::Phase::kDeadline:
      return "at its commit: a server did not answer in time";
    case AbortReason::Phase::kFenced:
      return "at its commit: a server has given this client up, or was started anew";
  }
  return "for a reason that is not known";
}

}  // namespace

const char* AbortPhaseName(AbortReason::Phase phase) {
  switch (phase) {
    case AbortReason::Phase::kNone:
      return "none";
    case AbortReason::Phase::kRead:
      return "read";
    case AbortReason::Phase::kLock:
      return "lock";
    case AbortReason::Phase::kValidate:
      return "validate";
    case AbortReason::Phase::kDeadline:
      return "deadline";
    case AbortReason::Phase::kFenced:
      return "fenced";
  }
  return "unknown";
}

absl::Status AbortedBecause(const AbortReason& reason) {
  std::string text = absl::StrCat("the transaction was aborted ", WhatHappened(reason.phase));
  if (!reason.key.empty()) absl::StrAppend(&text, "; key ", Shown(reason.key));
  if (!reason.winner.empty()) absl::StrAppend(&text, "; by ", reason.winner);
  absl::StrAppend(&text, ": nothing of it happened, run it again");
  return absl::AbortedError(text);
}

Transaction::Transaction(Coordinator* coordinator)
    : coordinator_(coordinator), work_(std::make_shared<Work>(coordinator->scheduler_)) {
  Reset(0, absl::nullopt);
}

void Transaction::Reset(int attempts_before, absl::optional<uint64_t> hold) {
  if (work_.use_count() > 1) {  // A commit still goes on.
    work_ = std::make_shared<Work>(coordinator_->scheduler_);
  }
  work_->ended.Reset();
  work_->records.clear();
  work_->parts.clear();
  work_->reads.clear();
  work_->hold = hold;
  work_->status = absl::OkStatus();
  work_->reason = {};
  work_->is_outcome_unknown = false;
  links_.clear();
  view_ = coordinator_->homes_->view();
  links_.resize(coordinator_->homes_->servers_count());
  reads_count_ = 0;
  writes_count_ = 0;
  status_ = absl::OkStatus();
  reason_ = {};
  is_outcome_unknown_ = false;
  committed_.reset();
  attempts_before_ = attempts_before;
}

Transaction::Record* Transaction::Find(uint64_t hash, absl::string_view key) {
  for (Record& record : work_->records) {
    if (record.hash == hash && record.key == key) return &record;
  }
  return nullptr;
}

Transaction::Record* Transaction::FindOrMake(absl::string_view key) {
  const uint64_t hash = HashKey(key);
  if (Record* const found = Find(hash, key)) return found;
  Record& record = work_->records.emplace_back();
  record.hash = hash;
  record.key.assign(key.data(), key.size());
  record.server = KeyShare::ServerIndex(hash, links_.size());
  return &record;
}

absl::Status Transaction::Abort(AbortReason reason) {
  ++coordinator_->stats_.aborted[static_cast<size_t>(reason.phase)];
  reason_ = std::move(reason);
  return Fail(AbortedBecause(reason_));
}

absl::Status Transaction::Fail(absl::Status status) {
  status_ = std::move(status);
  return status_;
}

// ---- Links.

TransactionLink* Transaction::LinkNow(size_t server) {
  std::shared_ptr<TransactionLink>& link = links_[server];
  if (link == nullptr && coordinator_->homes_->view() == view_) {
    link = coordinator_->homes_->LinkNow(server);
  }
  return link.get();
}

Task<absl::StatusOr<TransactionLink*>> Transaction::LinkTo(size_t server) {
  if (TransactionLink* const link = LinkNow(server)) co_return link;
  const uint64_t deadline_ns =
      coordinator_->scheduler_->NowNs() + coordinator_->operation_timeout_ns_;
  absl::StatusOr<std::shared_ptr<TransactionLink>> link =
      co_await coordinator_->homes_->Link(server, deadline_ns);
  if (coordinator_->homes_->view() != view_) {
    co_return Abort({AbortReason::Phase::kFenced, "", ""});
  }
  if (!link.ok()) co_return link.status();
  links_[server] = *std::move(link);
  co_return links_[server].get();
}

// ---- Reads.

Task<absl::Status> Transaction::Get(absl::string_view key, std::string* value) {
  MarkedGet get;
  get.key = key;
  get.value = value;
  absl::Status status = co_await ReadAll(absl::MakeSpan(&get, 1));
  co_return status.ok() ? get.status : status;
}

Task<void> Transaction::MultiGet(absl::Span<const absl::string_view> keys,
                                 absl::Span<std::string> values,
                                 absl::Span<absl::Status> statuses) {
  CHECK(keys.size() == values.size() && keys.size() == statuses.size());
  gets_.resize(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    gets_[i].key = keys[i];
    gets_[i].value = &values[i];
  }
  const absl::Status status = co_await ReadAll(absl::MakeSpan(gets_));
  for (size_t i = 0; i < keys.size(); ++i) statuses[i] = status.ok() ? gets_[i].status : status;
}

Task<absl::Status> Transaction::ReadAll(absl::Span<MarkedGet> gets) {
  if (!status_.ok()) co_return status_;
  // What it wrote itself is not asked for: it goes to the end.
  size_t count = gets.size();
  std::vector<std::pair<size_t, size_t>> swaps;
  for (size_t i = 0; i < count;) {
    MarkedGet& get = gets[i];
    get.status = CheckKey(get.key);
    if (!get.status.ok()) co_return get.status;
    const Record* const own = writes_count_ == 0 ? nullptr : Find(HashKey(get.key), get.key);
    if (own == nullptr || own->write == Record::Write::kNone) {
      ++i;
      continue;
    }
    if (own->write == Record::Write::kPut) {
      get.value->assign(own->value.data(), own->value.size());
    } else {
      get.status = absl::NotFoundError("the transaction has deleted the record");
    }
    if (i != --count) {
      std::swap(gets[i], gets[count]);
      swaps.emplace_back(i, count);
    }
  }
  if (count > 0) {
    const absl::Span<MarkedGet> asked = gets.first(count);
    absl::Status status = co_await ReadAtServers(asked);
    if (!status.ok()) co_return status;
    const bool stood_before = reads_count_ == 0 && count == 1;
    for (const MarkedGet& get : asked) {
      status = IsAnswer(get.status) ? Remember(get) : FailedRead(get);
      if (!status.ok()) co_return status;
    }
    if (!stood_before) {
      status = co_await ValidateReads();
      if (!status.ok()) co_return status;
    }
  }
  for (size_t i = swaps.size(); i-- > 0;) std::swap(gets[swaps[i].first], gets[swaps[i].second]);
  co_return absl::OkStatus();
}

namespace {

// What one server is asked for, out of a MultiGet.
struct Share {
  TransactionLink* link = nullptr;
  std::vector<size_t> indices;
  std::vector<MarkedGet> gets;
};

Task<void> ReadShare(Share* share, uint64_t deadline_ns) {
  co_await share->link->Read(absl::MakeSpan(share->gets), deadline_ns);
}

}  // namespace

Task<absl::Status> Transaction::ReadAtServers(absl::Span<MarkedGet> gets) {
  coordinator_->stats_.reads += gets.size();
  ++coordinator_->stats_.round_trips;
  if (links_.size() == 1 || gets.size() == 1) {
    const size_t server = KeyShare::ServerIndex(HashKey(gets[0].key), links_.size());
    TransactionLink* link = LinkNow(server);
    if (link == nullptr) {
      absl::StatusOr<TransactionLink*> made = co_await LinkTo(server);
      if (!made.ok()) co_return Fail(made.status());
      link = *made;
    }
    if (link->is_mapped() && link->ReadNow(gets)) co_return absl::OkStatus();
    co_await link->Read(gets,
                        coordinator_->scheduler_->NowNs() + coordinator_->operation_timeout_ns_);
    co_return absl::OkStatus();
  }
  std::vector<Share> shares(links_.size());
  for (size_t i = 0; i < gets.size(); ++i) {
    Share& share = shares[KeyShare::ServerIndex(HashKey(gets[i].key), links_.size())];
    share.indices.push_back(i);
    share.gets.push_back(gets[i]);
  }
  for (size_t server = 0; server < shares.size(); ++server) {
    if (shares[server].gets.empty()) continue;
    absl::StatusOr<TransactionLink*> link = co_await LinkTo(server);
    if (!link.ok()) co_return Fail(link.status());
    shares[server].link = *link;
  }
  const uint64_t deadline_ns =
      coordinator_->scheduler_->NowNs() + coordinator_->operation_timeout_ns_;
  std::vector<Task<void>> reading;
  for (Share& share : shares) {
    if (share.gets.empty()) continue;
    if (share.link->is_mapped() && share.link->ReadNow(absl::MakeSpan(share.gets))) continue;
    reading.push_back(ReadShare(&share, deadline_ns));
  }
  if (!reading.empty()) {
    Task<void> all = AwaitAll(coordinator_->scheduler_, std::move(reading));
    co_await std::move(all);
  }
  for (Share& share : shares) {
    for (size_t i = 0; i < share.indices.size(); ++i) gets[share.indices[i]] = share.gets[i];
  }
  co_return absl::OkStatus();
}

absl::Status Transaction::Remember(const MarkedGet& get) {
  Record* const record = FindOrMake(get.key);
  if (record->is_read) {
    // Again: one that is the same has the same mark.
    if (record->found == get.status.ok() && record->mark.word == get.mark.word &&
        record->mark.bits == get.mark.bits) {
      return absl::OkStatus();
    }
    return Abort({AbortReason::Phase::kRead, std::string(get.key), ""});
  }
  record->is_read = true;
  record->found = get.status.ok();
  record->mark = get.mark;
  ++reads_count_;
  return absl::OkStatus();
}

absl::Status Transaction::FailedRead(const MarkedGet& get) {
  switch (get.status.code()) {
    case absl::StatusCode::
        kUnavailable:  // Locked; or the home is gone, which the next attempt finds out.
    case absl::StatusCode::kDeadlineExceeded:  // READs that wait behind others.
      return Abort({AbortReason::Phase::kRead, std::string(get.key), ""});
    case absl::StatusCode::kOutOfRange:  // Of another view by now.
      return Abort({AbortReason::Phase::kFenced, std::string(get.key), ""});
    default:
      return Fail(get.status);
  }
}

Task<void> TransactionReads::Validate(uint64_t deadline_ns) {
  status = co_await link->Validate(marks, &changed, deadline_ns);
}

Task<absl::Status> Transaction::ValidateReads() {
  coordinator_->stats_.read_validations += reads_count_;
  ++coordinator_->stats_.read_validation_round_trips;
  std::vector<TransactionReads>& shares = work_->reads;
  if (shares.size() < links_.size()) shares.resize(links_.size());
  for (TransactionReads& share : shares) {
    share.marks.clear();
    share.record_of.clear();
  }
  for (size_t i = 0; i < work_->records.size(); ++i) {
    const Record& record = work_->records[i];
    if (!record.is_read) continue;
    shares[record.server].marks.push_back(record.mark);
    shares[record.server].record_of.push_back(i);
  }
  const uint64_t deadline_ns =
      coordinator_->scheduler_->clock()->CoarseNowNs() + coordinator_->operation_timeout_ns_;
  std::vector<Task<void>> validating;
  for (size_t server = 0; server < shares.size(); ++server) {
    TransactionReads& share = shares[server];
    if (share.marks.empty()) continue;
    share.link = links_[server];
    if (share.link->is_mapped()) {
      share.status = share.link->ValidateNow(share.marks, &share.changed);
    } else {
      validating.push_back(share.Validate(deadline_ns));
    }
  }
  if (!validating.empty()) {
    Task<void> all = AwaitAll(coordinator_->scheduler_, std::move(validating));
    co_await std::move(all);
  }
  for (const TransactionReads& share : shares) {
    if (share.marks.empty()) continue;
    if (absl::IsUnavailable(share.status) || absl::IsDeadlineExceeded(share.status)) {
      co_return Abort({AbortReason::Phase::kRead, "", ""});  // As a read that failed: FailedRead().
    }
    if (!share.status.ok()) co_return Fail(share.status);
    if (share.changed.has_value()) {
      const Record& record = work_->records[share.record_of[*share.changed]];
      coordinator_->ReportContended(share.link, record.key);
      co_return Abort({AbortReason::Phase::kRead, record.key, ""});
    }
  }
  co_return absl::OkStatus();
}

// ---- Writes.

absl::Status Transaction::Put(absl::string_view key, absl::string_view value) {
  return Write(key, Record::Write::kPut, value);
}

absl::Status Transaction::Delete(absl::string_view key) {
  return Write(key, Record::Write::kDelete, "");
}

absl::Status Transaction::Write(absl::string_view key, Record::Write kind,
                                absl::string_view value) {
  if (!status_.ok()) return status_;
  if (absl::Status status = CheckKey(key); !status.ok()) return status;
  if (absl::Status status = CheckValue(value); !status.ok()) return status;
  Record* const record = FindOrMake(key);
  if (record->write == Record::Write::kNone) ++writes_count_;
  record->write = kind;
  record->value.assign(value.data(), value.size());
  return absl::OkStatus();
}

Task<absl::Status> Transaction::Commit() {
  if (!status_.ok()) co_return status_;
  absl::Status status = co_await CommitOnce();
  committed_ = status;
  co_return status;
}

Task<absl::Status> Transaction::CommitOnce() {
  status_ = absl::FailedPreconditionError("the transaction has ended: begin another one");
  if (writes_count_ == 0) {  // All that it read stood together when the last of it was validated.
    ++coordinator_->stats_.committed;
    co_return absl::OkStatus();
  }
  for (const Record& record : work_->records) {
    if (LinkNow(record.server) != nullptr) continue;
    absl::StatusOr<TransactionLink*> link = co_await LinkTo(record.server);
    if (!link.ok()) co_return Fail(link.status());
  }
  if (coordinator_->homes_->view() != view_) {
    co_return Abort({AbortReason::Phase::kFenced, "", ""});
  }
  const uint64_t deadline_ns =
      coordinator_->scheduler_->NowNs() + coordinator_->operation_timeout_ns_;
  absl::Status divided = coordinator_->Divide(work_.get(), links_);
  if (!divided.ok()) co_return Fail(divided);
  co_await coordinator_->Commit(work_, deadline_ns);
  reason_ = work_->reason;
  is_outcome_unknown_ = work_->is_outcome_unknown;
  if (!work_->status.ok()) status_ = work_->status;
  co_return work_->status;
}

}  // namespace acre::kvs
