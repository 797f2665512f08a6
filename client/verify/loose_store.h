// LooseStore: a store in this process, for tests of what judges stores: strict, or with one fault.

#ifndef ACRE_CLIENT_VERIFY_LOOSE_STORE_H_
#define ACRE_CLIENT_VERIFY_LOOSE_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/verify/store.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"

namespace acre::verify {

enum class Fault : uint8_t {
  kNone,
  kNoValidation,      // A commit does not look whether what was read still stands.
  kNoReadValidation,  // Only what was written is validated: write skew.
  kNoOpacity,         // A read does not look whether earlier ones still stand.
  kTornInstall,       // The writes of a commit are seen one after the other.
  kForgottenDeletes,  // Deletes are told to be done.
  kStaleGets,         // A plain Get tells the value before the last one, now and then.
  kWrongFailures,     // A commit that happened is told to have not.
  kForeignBytes,      // A Get tells another key's value, now and then.
};

// Its reasons to abort.
constexpr uint8_t kPhaseRead = 1;
constexpr uint8_t kPhaseLock = 2;
constexpr uint8_t kPhaseValidate = 3;

// Threads: the scheduler's.
class LooseStore : public Store {
 public:
  // `unknown_percent` of commits that might happen end without an answer, half of them happen. The
  // scheduler outlives it.
  LooseStore(Scheduler* scheduler, Fault fault, uint32_t unknown_percent = 0)
      : scheduler_(scheduler), fault_(fault), unknown_percent_(unknown_percent) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override;
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override;
  std::unique_ptr<StoreTransaction> Begin() override;
  Task<absl::Status> RunTransaction(const StoreFunction& function) override;

 private:
  class LooseTransaction;

  struct Record {
    uint64_t version = 0;  // 0: there has never been one.
    bool is_there = false;
    std::string value;
    std::string value_before;
  };
  void Install(const std::string& key, const std::string* value);

  Scheduler* const scheduler_;
  const Fault fault_;
  const uint32_t unknown_percent_;
  Random random_{7};
  std::map<std::string, Record> records_;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_LOOSE_STORE_H_
