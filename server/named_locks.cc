#include "server/named_locks.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/deadline.h"

namespace acre::server {
namespace {

// Region ids begin at 1 and are a server's; named locks lie in none of its regions.
constexpr uint32_t kNoRegion = UINT32_MAX;
constexpr uint64_t kNsPerMs = 1'000'000;
constexpr size_t kLoggedNameBytesMax = 100;

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

}  // namespace

NamedLocks::~NamedLocks() {
  MutexLock lock(&mutex_);
  CHECK(entries_.empty()) << "a lock is held or awaited beyond its session";
}

NamedLocks::Entry* NamedLocks::Find(absl::string_view name) {
  const auto found = entries_.find(name);
  if (found != entries_.end()) return found->second.get();
  if (name_bytes_ + name.size() > kNameBytesMax) return nullptr;
  name_bytes_ += name.size();
  auto entry = std::make_unique<Entry>();
  entry->name = std::string(name);
  entry->address = GlobalAddress(kNoRegion, ++entries_made_);
  Entry* const made = entry.get();
  entries_[made->name] = std::move(entry);
  return made;
}

void NamedLocks::Forget(Entry* entry) {
  if (entry->token != 0 || !entry->waiters.empty()) return;
  name_bytes_ -= entry->name.size();
  const auto found = entries_.find(entry->name);
  const std::unique_ptr<Entry> last = std::move(found->second);
  entries_.erase(found);
}

void NamedLocks::WakeFirst(const Entry& entry) {
  if (entry.token != 0 || entry.waiters.empty()) return;
  const std::shared_ptr<Waiter> first = entry.waiters.front();
  first->scheduler->Post([first] { first->turn.Set(); });
}

uint64_t NamedLocks::NextToken() {
  last_token_ = std::max(last_token_ + 1, wall_ns_());
  return last_token_;
}

std::string NamedLocks::List(size_t bytes_max) {
  MutexLock lock(&mutex_);
  const uint64_t now_ns = clock_->NowNs();
  const auto age_ms = [now_ns](uint64_t since_ns) {
    return now_ns < since_ns ? 0 : (now_ns - since_ns) / kNsPerMs;
  };
  std::string text;
  for (const auto& [name, entry] : entries_) {
    absl::StrAppend(&text, "lock \"", absl::CHexEscape(name), "\"");
    if (entry->token == 0) {
      absl::StrAppend(&text, " changes hands");
    } else {
      absl::StrAppend(&text, " held_by ", entry->client, " token ", entry->token, " held_ms ",
                      age_ms(entry->since_ns));
    }
    absl::StrAppend(&text, " cohort local waiters ", entry->waiters.size(), "\n");
    for (const std::shared_ptr<Waiter>& waiter : entry->waiters) {
      absl::StrAppend(&text, "  awaited_by ", waiter->client, " waits_ms ",
                      age_ms(waiter->since_ns), "\n");
      if (text.size() > bytes_max) break;
    }
    if (text.size() > bytes_max) {
      absl::StrAppend(&text, "... and more than one answer holds\n");
      break;
    }
  }
  return text;
}

absl::Status NamedLocks::Force(absl::string_view name, uint64_t token) {
  MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second->token == 0) {
    return absl::NotFoundError("nobody holds this lock");
  }
  const Entry& entry = *found->second;
  if (entry.token != token) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the lock has another holder by now: ", entry.client, ", token ", entry.token));
  }
  const std::weak_ptr<LockSession*> session = entry.session;
  const uint64_t ticket = entry.ticket;
  entry.scheduler->Post([session, ticket, token] {
    if (const auto alive = session.lock()) (*alive)->OnForced(ticket, token);
  });
  return absl::OkStatus();
}

NamedLocks::Counts NamedLocks::counts() {
  MutexLock lock(&mutex_);
  return counts_;
}

// ---- LockSession.

// A lock that a task awaits, which may be destroyed meanwhile.
class LockSession::Waiting {
 public:
  Waiting(LockSession* session, uint64_t ticket) : session_(session), ticket_(ticket) {}
  ~Waiting() {
    if (session_ != nullptr) session_->GiveBack(ticket_);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  void Release() { session_ = nullptr; }

 private:
  LockSession* session_;
  const uint64_t ticket_;
};

LockSession::LockSession(NamedLocks* locks, LockThread* thread, std::string client)
    : locks_(locks),
      thread_(thread),
      client_(std::move(client)),
      self_(std::make_shared<LockSession*>(this)) {}

LockSession::~LockSession() {
  std::vector<uint64_t> tickets;
  for (const auto& [ticket, hold] : holds_) tickets.push_back(ticket);
  for (const uint64_t ticket : tickets) GiveBack(ticket);
}

uint64_t LockSession::TryEnter(uint64_t ticket, Hold* hold) {
  NamedLocks::Entry* const entry = hold->entry;
  if (entry->token != 0) return 0;
  hold->place = thread_->TryStart({&entry->words, entry->address});
  if (hold->place == nullptr) return 0;
  entry->token = locks_->NextToken();
  entry->since_ns = locks_->clock_->NowNs();
  entry->client = client_;
  entry->session = self_;
  entry->scheduler = scheduler();
  entry->ticket = ticket;
  ++locks_->counts_.held;
  ++locks_->counts_.acquired;
  return entry->token;
}

void LockSession::StopWaiting(Hold* hold) {
  hold->entry->waiters.erase(hold->waiter);
  --locks_->counts_.waiting;
}

Task<absl::StatusOr<uint64_t>> LockSession::Lock(absl::string_view name, uint64_t ticket,
                                                 uint64_t wait_ns) {
  if (holds_.contains(ticket)) {
    co_return absl::InvalidArgumentError("this connection has a lock with that ticket");
  }
  if (holds_.size() >= kLocksPerClientMax) {
    co_return absl::ResourceExhaustedError(absl::StrCat(
        "a client holds and awaits at most ", kLocksPerClientMax, " locks: release some"));
  }
  auto owned = std::make_unique<Hold>();
  Hold* const hold = owned.get();
  std::shared_ptr<NamedLocks::Waiter> waiter;
  {
    MutexLock lock(&locks_->mutex_);
    hold->entry = locks_->Find(name);
    if (hold->entry == nullptr) {
      co_return absl::ResourceExhaustedError(
          absl::StrCat("names of locks take ", kNameBytesMax, " bytes already: try later"));
    }
    if (hold->entry->waiters.empty()) {
      const uint64_t token = TryEnter(ticket, hold);
      if (token != 0) {
        holds_[ticket] = std::move(owned);
        co_return token;
      }
    }
    if (wait_ns == 0) {
      locks_->Forget(hold->entry);
      co_return uint64_t{0};
    }
    waiter = std::make_shared<NamedLocks::Waiter>(scheduler());
    waiter->client = client_;
    waiter->since_ns = locks_->clock_->NowNs();
    hold->waiter = hold->entry->waiters.insert(hold->entry->waiters.end(), waiter);
    ++locks_->counts_.waiting;
    holds_[ticket] = std::move(owned);
    // Who left it without a holder may have looked before we stood here.
    locks_->WakeFirst(*hold->entry);
  }
  Waiting waiting(this, ticket);
  const uint64_t now_ns = scheduler()->NowNs();
  const uint64_t deadline_ns = wait_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + wait_ns;
  while (true) {
    Task<void> turn = WaitFor(&waiter->turn);
    const absl::Status came = co_await WithDeadline(*scheduler(), deadline_ns, std::move(turn));
    if (!came.ok() || hold->is_called_off) co_return uint64_t{0};
    waiter->turn.Reset();
    {
      MutexLock lock(&locks_->mutex_);
      // A wake-up that is not up to date any more: the next one comes when it is our turn.
      if (hold->entry->waiters.front() != waiter || hold->entry->token != 0) continue;
      const uint64_t token = TryEnter(ticket, hold);
      if (token != 0) {
        StopWaiting(hold);
        waiting.Release();
        co_return token;
      }
    }
    // No descriptor is left for the ALock just now: nobody wakes us when there is one.
    co_await scheduler()->SleepFor(kNsPerMs);
    waiter->turn.Set();
  }
}

absl::Status LockSession::Unlock(uint64_t ticket) {
  const auto found = holds_.find(ticket);
  if (found == holds_.end()) {
    return absl::NotFoundError(
        "this connection holds no such lock: it was lost with an earlier connection, or forced "
        "open");
  }
  Hold* const hold = found->second.get();
  if (hold->is_held()) {
    GiveBack(ticket);
    return absl::OkStatus();
  }
  // The task that waits gives up.
  hold->is_called_off = true;
  (*hold->waiter)->turn.Set();
  return absl::OkStatus();
}

void LockSession::GiveBack(uint64_t ticket) {
  const auto found = holds_.find(ticket);
  if (found == holds_.end()) return;
  const std::unique_ptr<Hold> hold = std::move(found->second);
  holds_.erase(found);
  MutexLock lock(&locks_->mutex_);
  NamedLocks::Entry* const entry = hold->entry;
  if (hold->is_held()) {
    entry->token = 0;
    entry->session.reset();
    --locks_->counts_.held;
    thread_->Release(hold->place);
  } else {
    StopWaiting(hold.get());
  }
  locks_->WakeFirst(*entry);
  locks_->Forget(entry);
}

void LockSession::OnForced(uint64_t ticket, uint64_t token) {
  const auto found = holds_.find(ticket);
  if (found == holds_.end() || !found->second->is_held()) return;
  {
    MutexLock lock(&locks_->mutex_);
    const NamedLocks::Entry& entry = *found->second->entry;
    if (entry.token != token) return;
    ++locks_->counts_.forced;
    LOG(WARNING) << "lock \"" << absl::CHexEscape(entry.name.substr(0, kLoggedNameBytesMax))
                 << "\" of " << client_ << " was forced open, token " << token;
  }
  GiveBack(ticket);
}

}  // namespace acre::server
