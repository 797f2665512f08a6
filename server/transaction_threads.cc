#include "server/transaction_threads.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace acre::server {
namespace {

std::string NameOf(const kvs::TransactionThread& thread) {
  return absl::StrCat("coordinator ", thread.view, ".", thread.process_id, ".", thread.thread);
}

}  // namespace

absl::Status TransactionThreads::Bind(const kvs::TransactionThread& thread, int worker,
                                      uint64_t connection) {
  MutexLock lock(&mutex_);
  const auto [entry, is_new] = places_.try_emplace(thread, Place{worker, connection});
  if (is_new) return absl::OkStatus();
  const Place& place = entry->second;
  if (place.is_closed || place.connection == 0) {
    return absl::FailedPreconditionError(absl::StrCat(NameOf(thread), " is over"));
  }
  if (place.worker == worker && place.connection == connection) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(NameOf(thread), " belongs to another connection"));
}

absl::optional<TransactionThreads::Place> TransactionThreads::Close(
    const kvs::TransactionThread& thread) {
  MutexLock lock(&mutex_);
  const auto [entry, is_new] = places_.try_emplace(
      thread, Place{kNoWorker, /*connection=*/0, /*is_closed=*/true, /*is_over=*/true});
  if (is_new) {
    AddOver(thread);
    return absl::nullopt;
  }
  const Place before = entry->second;
  entry->second.is_closed = true;
  return before;
}

void TransactionThreads::EndConnection(const kvs::TransactionThread& thread) {
  MutexLock lock(&mutex_);
  const auto entry = places_.find(thread);
  if (entry == places_.end() || entry->second.connection == 0) return;
  entry->second.connection = 0;
  entry->second.is_closed = true;
  if (entry->second.is_over) AddOver(thread);
}

void TransactionThreads::Forget(const kvs::TransactionThread& thread) {
  MutexLock lock(&mutex_);
  const auto entry = places_.find(thread);
  if (entry == places_.end() || entry->second.is_over) return;
  entry->second.is_closed = true;
  entry->second.is_over = true;
  // Else it is remembered as long as its connection lives.
  if (entry->second.connection == 0) AddOver(thread);
}

absl::optional<TransactionThreads::Place> TransactionThreads::Find(
    const kvs::TransactionThread& thread) const {
  MutexLock lock(&mutex_);
  const auto entry = places_.find(thread);
  if (entry == places_.end()) return absl::nullopt;
  return entry->second;
}

void TransactionThreads::AddOver(const kvs::TransactionThread& thread) {
  over_.push_back(thread);
  if (over_.size() <= kOverMax) return;
  places_.erase(over_.front());
  over_.pop_front();
}

}  // namespace acre::server
