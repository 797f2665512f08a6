#include "tests/checkers/recorder.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "glog/logging.h"

namespace acre::checkers {

size_t ClientLog::Start(OperationKind kind, uint64_t now, absl::string_view key, uint32_t home) {
  Operation& operation = operations_.emplace_back();
  operation.kind = kind;
  operation.client = client_;
  operation.home = home;
  operation.invoked_at = now;
  operation.key = std::string(key);
  return operations_.size() - 1;
}

size_t ClientLog::StartGet(uint64_t now, absl::string_view key, uint32_t home) {
  return Start(OperationKind::kGet, now, key, home);
}

size_t ClientLog::StartPut(uint64_t now, absl::string_view key, absl::string_view value,
                           uint32_t home) {
  const size_t operation = Start(OperationKind::kPut, now, key, home);
  operations_[operation].value = std::string(value);
  return operation;
}

size_t ClientLog::StartDelete(uint64_t now, absl::string_view key, uint32_t home) {
  return Start(OperationKind::kDelete, now, key, home);
}

Operation& ClientLog::End(size_t operation, uint64_t now, Outcome outcome) {
  CHECK_LT(operation, operations_.size());
  Operation& ended = operations_[operation];
  CHECK_EQ(ended.returned_at, kNever) << "ended twice";
  CHECK_GE(now, ended.invoked_at);
  ended.returned_at = now;
  ended.outcome = outcome;
  return ended;
}

void ClientLog::EndGet(size_t operation, uint64_t now, absl::optional<absl::string_view> seen) {
  Operation& ended = End(operation, now, Outcome::kOk);
  CHECK(ended.kind == OperationKind::kGet);
  if (seen.has_value()) ended.value = std::string(*seen);
}

void ClientLog::EndPut(size_t operation, uint64_t now) {
  CHECK(End(operation, now, Outcome::kOk).kind == OperationKind::kPut);
}

void ClientLog::EndDelete(size_t operation, uint64_t now, absl::optional<bool> found) {
  Operation& ended = End(operation, now, Outcome::kOk);
  CHECK(ended.kind == OperationKind::kDelete);
  ended.found = found;
}

void ClientLog::EndFailed(size_t operation, uint64_t now) { End(operation, now, Outcome::kFailed); }

void ClientLog::EndUnknown(size_t operation, uint64_t now) {
  End(operation, now, Outcome::kUnknown);
}

ClientLog* Recorder::AddClient() {
  MutexLock lock(&mutex_);
  logs_.push_back(std::make_unique<ClientLog>(static_cast<uint32_t>(logs_.size())));
  return logs_.back().get();
}

void Recorder::AddCut(uint32_t home, uint64_t at) {
  MutexLock lock(&mutex_);
  cuts_.push_back({home, at});
}

History Recorder::Take() {
  MutexLock lock(&mutex_);
  History history;
  for (const std::unique_ptr<ClientLog>& log : logs_) {
    std::move(log->operations_.begin(), log->operations_.end(),
              std::back_inserter(history.operations));
  }
  std::stable_sort(
      history.operations.begin(), history.operations.end(),
      [](const Operation& a, const Operation& b) { return a.invoked_at < b.invoked_at; });
  history.cuts = std::move(cuts_);
  logs_.clear();
  cuts_.clear();
  return history;
}

}  // namespace acre::checkers
