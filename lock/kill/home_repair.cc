// What repair asks of a home: the data, and messages to those who live.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "lock/kill/home.h"

namespace acre::lock_kill {
namespace {

constexpr uint64_t kLookNs = 20'000;
// A child's service thread does nothing else, but the machine may be busy.
constexpr uint64_t kAnswerNsMax = 1'000'000'000;

}  // namespace

// ---- Data. Called when nobody can be inside but the dead, or the dead were not.

void Home::Apply(GlobalAddress lock, const Redo& redo) {
  if (!options_.repairs_data) return;
  SharedWord* const record = locks_->words() + GuardedOffset(LockNumber(lock)) / kWordBytes;
  uint64_t words[kRecordWords];
  CopyFromShared(words, record, kRecordWords, CopyOrder::kAscending);
  if (*std::min_element(words, words + kRecordWords) >= redo.value) return;
  // Release: whoever enters next sees them, by the grant or the tail that follows.
  for (uint32_t i = 0; i < kRecordWords; ++i)
    record[i].Store(redo.value, std::memory_order_release);
}

void Home::LeaveFor(GlobalAddress lock, uint32_t process_id) {
  Stamp(&stamps_.repaired_ns);
  SharedWord& inside = locks_->words()[GuardedOffset(LockNumber(lock)) / kWordBytes + kInsideWord];
  if (inside.Load(std::memory_order_acquire) == process_id) {
    inside.Store(0, std::memory_order_release);
  }
}

void Home::RepairLocal(GlobalAddress lock, LocalWord dead) {
  Redo redo;
  CopyFromShared(&redo.word, board()->local_redo + size_t{dead.index()} * kRedoWords, kRedoWords,
                 CopyOrder::kAscending);
  if (redo.IsFor(dead.bits())) Apply(lock, redo);
  // Relaxed: it was seen to end.
  const uint64_t owner = arena_->Find(dead)->owner.Load(std::memory_order_relaxed);
  LeaveFor(lock, static_cast<uint32_t>(owner));
}

void Home::RepairRemote(GlobalAddress lock, absl::Span<const RemoteWord> dead) {
  for (const RemoteWord word : dead) {
    const Member* const member = FindMember(word.process_id());
    CHECK(member != nullptr && member->intents != nullptr);
    Redo redo;
    CopyFromShared(&redo.word,
                   member->intents->words() + (LockIntentOffset(word) + kRedoOffset) / kWordBytes,
                   kRedoWords, CopyOrder::kAscending);
    if (redo.IsFor(word.bits())) Apply(lock, redo);
    LeaveFor(lock, word.process_id());
  }
}

std::string Home::RepairText() const {
  std::string text = keeper_->idle() ? "the keeper is idle" : "the keeper is at work";
  absl::StrAppend(&text, local_repair_->idle() ? ", no local place" : ", a local place",
                  " is awaited");
  for (uint32_t number = 0; number < kLocks; ++number) {
    absl::StrAppend(&text, "\n  lock ", number, ", remote, from the tail:");
    auto at = RemoteWord::FromBits(lock(number).remote_tail.Load(std::memory_order_acquire));
    for (int i = 0; i < 20 && !at.is_null(); ++i) {
      absl::StrAppend(&text, " ", absl::Hex(at.bits()));
      const auto member = members_.find(at.process_id());
      if (member == members_.end() || at.index() >= kDescriptors) break;
      LockIntent intent;
      CopyFromShared(&intent.word,
                     member->second->intents->words() + LockIntentOffset(at) / kWordBytes,
                     sizeof(intent) / kWordBytes, CopyOrder::kAscending);
      if (!intent.IsWhole() || intent.word != at.bits()) break;
      at = RemoteWord::FromBits(intent.pred);
    }
  }
  return text;
}

// ---- Messages.

Task<absl::StatusOr<bool>> Home::Ask(Message question) {
  const auto id = RemoteWord::FromBits(question.word).process_id();
  Member* const member = FindMember(id);
  if (member == nullptr) co_return absl::UnavailableError(absl::StrCat("there is no process ", id));
  question.sequence = ++last_sequence_;
  const Question& asked = questions_[question.sequence];
  const uint64_t deadline_ns = scheduler_.NowNs() + kAnswerNsMax;
  absl::StatusOr<bool> answer = absl::DeadlineExceededError("no answer");
  if (!member->process.control().Send(question)) answer = absl::UnavailableError("it is gone");
  while (!asked.is_answered && absl::IsDeadlineExceeded(answer.status())) {
    if (member->ended.is_set()) answer = absl::UnavailableError("it is dead");
    if (scheduler_.NowNs() > deadline_ns) break;
    co_await scheduler_.SleepFor(kLookNs);
  }
  if (asked.is_answered) answer = asked.answer != 0;
  if (absl::IsDeadlineExceeded(answer.status())) ++unanswered_count_;
  questions_.erase(question.sequence);
  co_return answer;
}

Task<absl::StatusOr<bool>> Home::StandBy(RemoteWord word, absl::Span<const uint32_t> dead) {
  Message question;
  question.kind = MessageKind::kStandBy;
  question.word = word.bits();
  question.SetDead(dead);
  return Ask(question);
}

Task<absl::StatusOr<bool>> Home::HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) {
  Message question;
  question.kind = MessageKind::kHasGrant;
  question.word = word.bits();
  question.SetDead(dead);
  return Ask(question);
}

Task<absl::Status> Home::SetSuccessor(RemoteWord word, RemoteWord successor) {
  Message question;
  question.kind = MessageKind::kSuccessor;
  question.word = word.bits();
  question.other = successor.bits();
  const absl::StatusOr<bool> told = co_await Ask(question);
  co_return told.status();
}

Task<absl::Status> Home::GrantLeadership(RemoteWord word) {
  Message question;
  question.kind = MessageKind::kLeadership;
  question.word = word.bits();
  const absl::StatusOr<bool> told = co_await Ask(question);
  co_return told.status();
}

}  // namespace acre::lock_kill
