// Transaction: what one transaction has read and wants to write, from its first read to its end. The public form of it
// is described in client/transaction.h, the protocol in docs/transactions.md.
//
// Reads go one-sided to the homes, and remember a ReadMark each. Every read, once done, has all earlier ones validated: so at
// that moment all that was read stood together (opacity). Writes stay here till Commit().
//
// Threads:   the coordinator's.
// Ownership: borrows the coordinator, which outlives it. What a commit on several homes needs is shared with the task that
//            brings it to its end, whether or not anybody still waits for that.

#ifndef ACRE_KVS_TRANSACTION_H_
#define ACRE_KVS_TRANSACTION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "kvs/coordinator_name.h"
#include "kvs/read_mark.h"
#include "kvs/transaction_id.h"
#include "kvs/transaction_link.h"
#include "kvs/transaction_stats.h"
#include "kvs/write_plan.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "runtime/wait_queue.h"

namespace acre::kvs {

class Coordinator;

// Aborted, with the reason in words.
absl::Status AbortedBecause(const AbortReason& reason);

// A key that a transaction has to do with.
struct TransactionRecord {
  enum class Write : uint8_t { kNone, kPut, kDelete };

  uint64_t hash = 0;
  std::string key;
  size_t server = 0;
  bool is_read = false;
  bool found = false;  // What was read.
  ReadMark mark;       // Likewise.
  Write write = Write::kNone;
  std::string value;  // Of a put.
};

// What a commit sends to one home that it writes to, and what comes back.
struct TransactionPart {
  std::shared_ptr<TransactionLink> link;
  size_t server = 0;
  std::vector<TransactionWrite> writes;  // Views into the records.
  std::vector<ReadMark> misses;          // In homes that it writes to.
  // Of the records: what writes, misses and reads are of, in the order of TransactionVote::index.
  std::vector<size_t> record_of;
  TransactionLink::Room room;  // For what ends it.
  std::string request;
  std::string response;
  absl::Status status;  // Of the call, or the notice.
  TransactionVote vote;
  bool was_asked = false;  // LOCK left, or may have.
};

// What was read at one home, to be validated.
struct TransactionReads {
  // TransactionLink::Validate(): `status` and `changed`.
  Task<void> Validate(uint64_t deadline_ns);

  std::shared_ptr<TransactionLink> link;
  size_t server = 0;
  std::vector<ReadMark> marks;
  std::vector<size_t> record_of;
  absl::Status status;
  absl::optional<size_t> changed;
};

class Transaction {
 public:
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Arguments outlive the tasks; one call at a time.
  Task<absl::Status> Get(absl::string_view key, std::string* value);
  // All reads at once, and one validation: cheaper than one Get after the other. A failure, a key out of limits too, is every
  // key's status.
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses);
  // Both are copied. A Delete of what is not there is no error.
  [[nodiscard]] absl::Status Put(absl::string_view key, absl::string_view value);
  [[nodiscard]] absl::Status Delete(absl::string_view key);
  // Once. A task that is destroyed before it has ended leaves the outcome unknown. A function of RunTransaction() need not
  // call it; if it does, that was the commit.
  Task<absl::Status> Commit();

  const AbortReason& reason() const { return reason_; }
  bool is_outcome_unknown() const { return is_outcome_unknown_; }
  // Attempts of RunTransaction() before this one.
  int attempts_before() const { return attempts_before_; }

 private:
  friend class Coordinator;
  friend class TransactionAttempts;
  using Record = TransactionRecord;

  // All that a commit needs till its end.
  struct Work {
    explicit Work(Scheduler* scheduler) : ended(scheduler) {}

    TransactionId id;
    std::shared_ptr<CoordinatorName> name;  // That it goes under.
    absl::optional<uint64_t> hold;
    std::vector<Record> records;
    std::vector<TransactionPart> parts;
    std::vector<TransactionReads> reads;
    absl::Status status;  // Of the commit.
    AbortReason reason;
    bool is_outcome_unknown = false;
    Event ended;  // The commit on several homes.
  };

  explicit Transaction(Coordinator* coordinator);

  // Begins anew, as the attempt behind `attempts_before` others.
  void Reset(int attempts_before, absl::optional<uint64_t> hold);
  Record* Find(uint64_t hash, absl::string_view key);
  Record* FindOrMake(absl::string_view key);
  // The link to a server, the same for the whole life of the transaction.
  Task<absl::StatusOr<TransactionLink*>> LinkTo(size_t server);
  TransactionLink* LinkNow(size_t server);
  absl::Status Write(absl::string_view key, Record::Write kind, absl::string_view value);

  Task<absl::Status> CommitOnce();
  // Reads, remembers, validates. OK: every get has OK or NotFound.
  Task<absl::Status> ReadAll(absl::Span<MarkedGet> gets);
  Task<absl::Status> ReadAtServers(absl::Span<MarkedGet> gets);
  // Notes what was read; Aborted if it is not what was read before.
  absl::Status Remember(const MarkedGet& get);
  // That all reads stand, at one moment from now.
  Task<absl::Status> ValidateReads();
  // Why reading a key failed.
  absl::Status FailedRead(const MarkedGet& get);
  // This transaction is over.
  absl::Status Abort(AbortReason reason);
  absl::Status Fail(absl::Status status);

  Coordinator* const coordinator_;
  std::shared_ptr<Work> work_;
  std::vector<std::shared_ptr<TransactionLink>> links_;  // By server; null: not used yet.
  std::vector<MarkedGet> gets_;                          // Of the MultiGet under way.
  uint64_t view_ = 0;
  size_t reads_count_ = 0;  // Records that were read.
  size_t writes_count_ = 0;
  absl::Status status_;                     // Not OK: it is over, and says this to all that comes.
  absl::optional<absl::Status> committed_;  // What came of Commit().
  AbortReason reason_;
  bool is_outcome_unknown_ = false;
  int attempts_before_ = 0;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_TRANSACTION_H_
