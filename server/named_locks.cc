#include "server/named_locks.h"

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "lock/pause.h"
#include "runtime/deadline.h"

namespace acre::server {
namespace {

// Region ids begin at 1 and are a server's; named locks lie in none of its regions.
constexpr uint32_t kNoRegion = UINT32_MAX;
constexpr uint64_t kNsPerMs = 1'000'000;

Task<void> WaitFor(Event* event) { co_await event->Wait(); }

}  // namespace

NamedLocks::~NamedLocks() {
  MutexLock lock(&mutex_);
  ForgetLingering();
  CHECK(entries_.empty()) << "a lock is held or awaited beyond its session";
}

NamedLocks::Entry* NamedLocks::Find(absl::string_view name) {
  ForgetLingering();
  std::unique_ptr<Entry>& entry = entries_[name];
  if (entry == nullptr) {
    entry = std::make_unique<Entry>();
    entry->name = std::string(name);
    entry->address = GlobalAddress(kNoRegion, ++entries_made_);
  }
  return entry.get();
}

void NamedLocks::Forget(Entry* entry) {
  if (entry->token != 0 || !entry->waiters.empty()) return;
  // Relaxed: whoever gets in line does so under the mutex; what leaves it late is seen later.
  if (entry->words.local_tail.Load(std::memory_order_acquire) != 0) {
    lingering_.insert(entry);
    return;
  }
  lingering_.erase(entry);
  entries_.erase(entry->name);
}

void NamedLocks::ForgetLingering() {
  const std::vector<Entry*> lingering(lingering_.begin(), lingering_.end());
  for (Entry* const entry : lingering) Forget(entry);
}

void NamedLocks::WakeFirst(Entry* entry) {
  if (entry->waiters.empty()) return;
  const std::shared_ptr<Waiter> first = entry->waiters.front();
  first->scheduler->Post([first] { first->turn.Set(); });
}

uint64_t NamedLocks::NextToken() {
  last_token_ = std::max(last_token_ + 1, wall_ns_());
  return last_token_;
}

std::string NamedLocks::List() {
  MutexLock lock(&mutex_);
  ForgetLingering();
  const uint64_t now_ns = clock_->NowNs();
  const auto age_ms = [now_ns](uint64_t since_ns) {
    return now_ns < since_ns ? 0 : (now_ns - since_ns) / kNsPerMs;
  };
  std::vector<const Entry*> entries;
  for (const auto& [name, entry] : entries_) entries.push_back(entry.get());
  std::sort(entries.begin(), entries.end(),
            [](const Entry* a, const Entry* b) { return a->name < b->name; });
  std::string text;
  for (const Entry* const entry : entries) {
    absl::StrAppend(&text, "lock \"", absl::CHexEscape(entry->name), "\"");
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
  ++counts_.forced;
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

// A place in a queue, for a task that may be destroyed while it waits.
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

uint64_t LockSession::Enter(uint64_t ticket, Hold* hold) {
  NamedLocks::Entry* const entry = hold->entry;
  if (hold->waiter != nullptr) {
    entry->waiters.remove(hold->waiter);
    --locks_->counts_.waiting;
    hold->waiter = nullptr;
  }
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

Task<absl::StatusOr<uint64_t>> LockSession::Lock(absl::string_view name, uint64_t ticket,
                                                 uint64_t wait_ns) {
  if (holds_.contains(ticket)) {
    co_return absl::InvalidArgumentError("this connection has a lock with that ticket");
  }
  if (holds_.size() >= kLocksPerClientMax) {
    co_return absl::ResourceExhaustedError(absl::StrCat(
        "a client holds and awaits at most ", kLocksPerClientMax, " locks: release some"));
  }
  Hold* const hold = (holds_[ticket] = std::make_unique<Hold>()).get();
  {
    MutexLock lock(&locks_->mutex_);
    hold->entry = locks_->Find(name);
    const MappedLock mapped = {&hold->entry->words, hold->entry->address};
    hold->place = wait_ns == 0 ? thread_->TryStart(mapped) : thread_->Start(mapped);
    if (hold->place != nullptr && hold->place->held()) co_return Enter(ticket, hold);
    if (hold->place != nullptr) {
      hold->waiter = std::make_shared<NamedLocks::Waiter>(scheduler());
      hold->waiter->client = client_;
      hold->waiter->since_ns = locks_->clock_->NowNs();
      // Before us are only places that were given up, or one that leaves right now: nobody will wake us.
      if (hold->entry->token == 0 && hold->entry->waiters.empty()) hold->waiter->turn.Set();
      hold->entry->waiters.push_back(hold->waiter);
      ++locks_->counts_.waiting;
    }
  }
  Waiting waiting(this, ticket);
  if (hold->place == nullptr) {
    if (wait_ns == 0) co_return uint64_t{0};
    co_return absl::ResourceExhaustedError("the server has no room for another waiter: try later");
  }
  const std::shared_ptr<NamedLocks::Waiter> waiter = hold->waiter;
  const uint64_t now_ns = scheduler()->NowNs();
  const uint64_t deadline_ns = wait_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + wait_ns;
  // Till the lock is given back with us next in line. From then on we look: somebody before us may have given up,
  // whose place passes the lock on by itself and wakes nobody.
  Task<void> turn = WaitFor(&waiter->turn);
  const absl::Status came = co_await WithDeadline(*scheduler(), deadline_ns, std::move(turn));
  Pause pause;
  while (came.ok() && !hold->is_cancelled && scheduler()->NowNs() < deadline_ns) {
    if (thread_->Advance(hold->place)) {
      waiting.Release();
      MutexLock lock(&locks_->mutex_);
      co_return Enter(ticket, hold);
    }
    co_await pause.Take(scheduler());
  }
  co_return uint64_t{0};
}

absl::Status LockSession::Unlock(uint64_t ticket) {
  const auto found = holds_.find(ticket);
  if (found == holds_.end()) {
    return absl::NotFoundError(
        "this connection holds no such lock: it was lost with an earlier connection, or forced "
        "open");
  }
  Hold* const hold = found->second.get();
  if (hold->waiter == nullptr) {
    GiveBack(ticket);
    return absl::OkStatus();
  }
  // The task that waits gives it back.
  hold->is_cancelled = true;
  hold->waiter->turn.Set();
  return absl::OkStatus();
}

void LockSession::GiveBack(uint64_t ticket) {
  const auto found = holds_.find(ticket);
  if (found == holds_.end()) return;
  const std::unique_ptr<Hold> hold = std::move(found->second);
  holds_.erase(found);
  MutexLock lock(&locks_->mutex_);
  NamedLocks::Entry* const entry = hold->entry;
  const bool was_first = hold->waiter == nullptr || entry->waiters.front() == hold->waiter;
  if (hold->waiter != nullptr) {
    entry->waiters.remove(hold->waiter);
    --locks_->counts_.waiting;
    // The lock may have come to us in this moment, unseen: then it is handed on like any other.
    if (thread_->Advance(hold->place)) {
      thread_->Release(hold->place);
    } else {
      thread_->Abandon(hold->place);
    }
  } else if (hold->place != nullptr) {
    entry->token = 0;
    entry->session.reset();
    --locks_->counts_.held;
    thread_->Release(hold->place);
  }
  if (was_first) locks_->WakeFirst(entry);
  locks_->Forget(entry);
}

void LockSession::OnForced(uint64_t ticket, uint64_t token) {
  const auto found = holds_.find(ticket);
  if (found == holds_.end() || found->second->waiter != nullptr) return;
  {
    MutexLock lock(&locks_->mutex_);
    if (found->second->entry->token != token) return;
    LOG(WARNING) << "lock \"" << absl::CHexEscape(found->second->entry->name) << "\" of " << client_
                 << " was forced open, token " << token;
  }
  GiveBack(ticket);
}

}  // namespace acre::server
