#include "tests/kill/work.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "kvs/hash.h"
#include "kvs/key_share.h"
#include "kvs/slot.h"
#include "tests/kill/values.h"

namespace acre::tests {
namespace {

using checkers::Operation;
using checkers::OperationKind;

constexpr uint32_t kKeys = 6;
// Only the first of them are deleted. At each death some Deletes have an unknown outcome, and could be the reason
// why a key is absent: on the others there is no such excuse.
constexpr uint32_t kKeysDeleted = 3;
constexpr size_t kMultiGetMax = 4;

size_t DrawValueBytes(Random* random) {
  const uint64_t dice = random->Uniform(100);
  if (dice < 70) return random->Uniform(44);
  if (dice < 98) return 49 + random->Uniform(400);
  return 4096 + random->Uniform(4096);
}

bool IsAnswer(const absl::Status& status) { return status.ok() || absl::IsNotFound(status); }

}  // namespace

uint32_t HomeOf(absl::string_view key, uint32_t homes) {
  return static_cast<uint32_t>(kvs::KeyShare::ServerIndex(kvs::HashKey(key), homes));
}

std::vector<std::string> HotKeys(uint32_t homes) {
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < kKeys; ++i) {
    std::string key;
    for (int attempt = 0; key.empty() || HomeOf(key, homes) != i % homes; ++attempt) {
      key = absl::StrCat("hot", i, ".", attempt);
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

Work::Work(uint32_t client, uint32_t homes, uint64_t seed, ClientPlant plant,
           checkers::Journal journal, Clock* clock)
    : client_(client),
      homes_(homes),
      keys_(HotKeys(homes)),
      plant_(plant),
      journal_(std::move(journal)),
      clock_(clock),
      random_(seed) {}

Step Work::Begin() {
  Step step;
  const uint64_t dice = random_.Uniform(100);
  step.kind = dice < 45   ? OperationKind::kPut
              : dice < 55 ? OperationKind::kDelete
                          : OperationKind::kGet;
  size_t count = dice < 90 ? 1 : 1 + random_.Uniform(kMultiGetMax);
  const uint64_t keys = step.kind == OperationKind::kDelete ? kKeysDeleted : kKeys;
  for (; count > 0; --count) step.keys.push_back(keys_[random_.Uniform(keys)]);
  step.values.resize(step.keys.size());
  step.statuses.resize(step.keys.size());
  if (step.kind == OperationKind::kPut) {
    step.values[0] = MakeValue(client_, puts_++, DrawValueBytes(&random_));
  }
  for (const std::string& key : step.keys) {
    Operation operation;
    operation.kind = step.kind;
    operation.client = client_;
    operation.home = HomeOf(key, homes_);
    operation.key = key;
    if (step.kind == OperationKind::kPut) operation.value = NameOfValue(step.values[0]);
    // The client looks for a server while it is under way.
    operation.crossing = step.kind != OperationKind::kGet;
    step.operations.push_back(std::move(operation));
  }
  for (Operation& operation : step.operations) {
    operation.invoked_at = clock_->NowNs();
    step.numbers.push_back(journal_.Start(operation));
  }
  return step;
}

bool Work::End(Step step) {
  const uint64_t now_ns = clock_->NowNs();
  bool all_answered = true;
  for (size_t i = 0; i < step.keys.size(); ++i) {
    const absl::Status& status = step.statuses[i];
    Operation* const operation = &step.operations[i];
    operation->returned_at = now_ns;
    if (step.kind == OperationKind::kGet) {
      EndGet(status, step.values[i], operation);
    } else {
      EndChange(status, operation);
    }
    journal_.End(step.numbers[i], *operation);
    ++operations_;
    if (IsAnswer(status)) {
      ++answered_;
      if (step.kind == OperationKind::kGet) gets_answered_.insert(operation->home);
      if (step.kind == OperationKind::kPut &&
          kvs::FitsInline(step.keys[i].size(), step.values[i].size())) {
        puts_answered_.insert(operation->home);
      }
      continue;
    }
    all_answered = false;
    // It is to be left open.
    if (plant_.leaks) CHECK_GE(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
    constexpr size_t kValueBytesMax = 40;
    last_error_ = absl::StrCat(ToText(*operation, kValueBytesMax), ": ", status.ToString());
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
      finding_ = absl::StrCat("an error that nothing here can cause: ", last_error_);
    }
  }
  return all_answered;
}

void Work::EndGet(const absl::Status& status, absl::string_view value, Operation* get) {
  if (!IsAnswer(status)) {
    get->outcome = checkers::Outcome::kFailed;
    return;
  }
  get->outcome = checkers::Outcome::kOk;
  if (status.ok()) get->value = NameOfValue(value);
  if (const std::string* stale = Stale(*get)) get->value = *stale;
}

const std::string* Work::Stale(const Operation& get) {
  if (!plant_.stale_gets || !get.value.has_value()) return nullptr;
  auto& [last, before] = seen_[get.key];
  if (*get.value != last) {
    before = std::exchange(last, *get.value);
    return nullptr;
  }
  // The one seen last was seen again, so the one before is surely over.
  return before.empty() || random_.Uniform(10) != 0 ? nullptr : &before;
}

void Work::EndChange(const absl::Status& status, Operation* change) {
  if (!IsAnswer(status)) return;  // Unknown, as it was.
  change->outcome = checkers::Outcome::kOk;
  if (change->kind == OperationKind::kDelete) change->found = status.ok();
}

}  // namespace acre::tests
