#include "client/verify/loose_store.h"

#include <utility>

#include "absl/types/optional.h"
#include "absl/types/span.h"

namespace acre::verify {

class LooseStore::LooseTransaction : public StoreTransaction {
 public:
  explicit LooseTransaction(LooseStore* store) : store_(store) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    co_await store_->scheduler_->Yield();
    co_return Read(key, value);
  }
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override {
    co_await store_->scheduler_->Yield();
    for (size_t i = 0; i < keys.size(); ++i) statuses[i] = Read(keys[i], &values[i]);
    if (is_aborted_) {
      for (absl::Status& status : statuses) status = absl::AbortedError("");
    }
  }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    writes_[std::string(key)] = std::string(value);
    return absl::OkStatus();
  }
  absl::Status Delete(absl::string_view key) override {
    writes_[std::string(key)] = absl::nullopt;
    return absl::OkStatus();
  }

  Task<absl::Status> Commit() override {
    co_await store_->scheduler_->Yield();
    const Fault fault = store_->fault_;
    bool is_valid = !is_aborted_;
    for (const auto& [key, version] : reads_) {
      if (fault == Fault::kNoValidation) break;
      if (fault == Fault::kNoReadValidation && !writes_.contains(key)) continue;
      is_valid &= store_->records_[key].version == version;
    }
    if (!is_valid) co_return Abort(kPhaseValidate);
    const bool is_lost = store_->random_.Uniform(100) < store_->unknown_percent_;
    if (is_lost && store_->random_.Uniform(2) == 0) co_return Lose();
    for (const auto& [key, value] : writes_) {
      if (!value.has_value() && fault == Fault::kForgottenDeletes) continue;
      store_->Install(key, value.has_value() ? &*value : nullptr);
      if (fault == Fault::kTornInstall) co_await store_->scheduler_->Yield();
    }
    if (is_lost) co_return Lose();
    if (fault == Fault::kWrongFailures && store_->random_.Uniform(20) == 0) {
      co_return Abort(kPhaseLock);
    }
    co_return absl::OkStatus();
  }

  uint8_t abort_phase() const override { return phase_; }
  bool is_outcome_unknown() const override { return is_unknown_; }

 private:
  absl::Status Abort(uint8_t phase) {
    is_aborted_ = true;
    phase_ = phase;
    return absl::AbortedError("somebody was quicker");
  }
  absl::Status Lose() {
    is_unknown_ = true;
    return absl::UnavailableError("no answer");
  }

  absl::Status Read(absl::string_view key, std::string* value) {
    const Fault fault = store_->fault_;
    for (const auto& [other, version] : reads_) {
      if (fault == Fault::kNoValidation || fault == Fault::kNoOpacity) break;
      if (fault == Fault::kNoReadValidation) break;
      if (store_->records_[other].version != version) return Abort(kPhaseRead);
    }
    const std::string name(key);
    if (const auto own = writes_.find(name); own != writes_.end()) {
      if (!own->second.has_value()) return absl::NotFoundError("");
      *value = *own->second;
      return absl::OkStatus();
    }
    const Record& record = store_->records_[name];
    reads_.emplace(name, record.version);
    if (!record.is_there) return absl::NotFoundError("");
    *value = record.value;
    if (fault == Fault::kForeignBytes && store_->random_.Uniform(200) == 0) {
      *value = store_->records_.begin()->second.value;
    }
    return absl::OkStatus();
  }

  LooseStore* const store_;
  std::map<std::string, uint64_t> reads_;
  std::map<std::string, absl::optional<std::string>> writes_;
  uint8_t phase_ = 0;
  bool is_aborted_ = false;
  bool is_unknown_ = false;
};

void LooseStore::Install(const std::string& key, const std::string* value) {
  Record& record = records_[key];
  ++record.version;
  record.is_there = value != nullptr;
  record.value_before = std::move(record.value);
  record.value = value == nullptr ? "" : *value;
}

Task<absl::Status> LooseStore::Get(absl::string_view key, std::string* value) {
  co_await scheduler_->Yield();
  const Record& record = records_[std::string(key)];
  if (!record.is_there) co_return absl::NotFoundError("");
  *value = record.value;
  if (fault_ == Fault::kStaleGets && !record.value_before.empty() && random_.Uniform(10) == 0) {
    *value = record.value_before;
  }
  co_return absl::OkStatus();
}

Task<absl::Status> LooseStore::Put(absl::string_view key, absl::string_view value) {
  co_await scheduler_->Yield();
  const std::string text(value);
  Install(std::string(key), &text);
  co_return absl::OkStatus();
}

std::unique_ptr<StoreTransaction> LooseStore::Begin() {
  return std::make_unique<LooseTransaction>(this);
}

Task<absl::Status> LooseStore::RunTransaction(const StoreFunction& function) {
  while (true) {
    LooseTransaction transaction(this);
    absl::Status status = co_await function(&transaction);
    if (status.ok()) status = co_await transaction.Commit();
    if (!absl::IsAborted(status)) co_return status;
  }
}

}  // namespace acre::verify
