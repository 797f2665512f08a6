// Store: the few calls of a client that kv_verify makes: what it judges.
//
// Tests put others in its place, which keep less than they promise.

#ifndef ACRE_CLIENT_VERIFY_STORE_H_
#define ACRE_CLIENT_VERIFY_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/task.h"

namespace acre::verify {

// Why a transaction was aborted, by numbers from 0, which is "not told" (client/transaction.h names
// them).
constexpr size_t kPhasesMax = 8;

// Threads, arguments, errors: as those of a client (client/transaction.h).
class StoreTransaction {
 public:
  virtual ~StoreTransaction() = default;

  virtual Task<absl::Status> Get(absl::string_view key, std::string* value) = 0;
  virtual Task<void> MultiGet(absl::Span<const absl::string_view> keys,
                              absl::Span<std::string> values,
                              absl::Span<absl::Status> statuses) = 0;
  [[nodiscard]] virtual absl::Status Put(absl::string_view key, absl::string_view value) = 0;
  [[nodiscard]] virtual absl::Status Delete(absl::string_view key) = 0;
  virtual Task<absl::Status> Commit() = 0;
  // Below kPhasesMax.
  virtual uint8_t abort_phase() const = 0;
  virtual bool is_outcome_unknown() const = 0;
};
using StoreFunction = std::function<Task<absl::Status>(StoreTransaction*)>;

class Store {
 public:
  virtual ~Store() = default;

  virtual Task<absl::Status> Get(absl::string_view key, std::string* value) = 0;
  virtual Task<absl::Status> Put(absl::string_view key, absl::string_view value) = 0;
  virtual std::unique_ptr<StoreTransaction> Begin() = 0;
  // `function` outlives the task.
  virtual Task<absl::Status> RunTransaction(const StoreFunction& function) = 0;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_STORE_H_
