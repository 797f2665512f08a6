#include "server/transaction_threads.h"

#include <algorithm>
#include <string>
#include <utility>

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
  const auto [entry, is_new] =
      places_.try_emplace(thread, Place{.worker = worker, .connection = connection});
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
  const auto [entry, is_new] =
      places_.try_emplace(thread, Place{.is_closed = true, .is_over = true});
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

void TransactionThreads::Forget(const kvs::TransactionThread& thread,
                                std::vector<uint64_t> committed, uint64_t finished_below) {
  MutexLock lock(&mutex_);
  const auto entry = places_.find(thread);
  if (entry == places_.end() || entry->second.is_over) return;
  entry->second.is_closed = true;
  entry->second.is_over = true;
  entry->second.committed = std::move(committed);
  entry->second.finished_below = finished_below;
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

kvs::TransactionOutcome TransactionThreads::OutcomeOf(const Place& place,
                                                      const kvs::TransactionId& id) {
  // It was finished everywhere: nobody asks but who does not know what he does.
  if (id.sequence < place.finished_below) return kvs::TransactionOutcome::kUnknown;
  return std::binary_search(place.committed.begin(), place.committed.end(), id.sequence)
             ? kvs::TransactionOutcome::kCommitted
             : kvs::TransactionOutcome::kPromised;
}

void TransactionThreads::AddOver(const kvs::TransactionThread& thread) {
  over_.push_back(thread);
  if (over_.size() <= kOverMax) return;
  places_.erase(over_.front());
  over_.pop_front();
}

}  // namespace acre::server
