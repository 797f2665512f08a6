// What a benchmark of transactions runs: a population of records, kinds of transactions with their shares, and for each
// of many coroutines an actor that picks transactions and carries them out. One file for each mix:
//
//   transfer.h    two accounts, an amount goes from one to the other; and a counter that all increment
//   smallbank.h   SmallBank: six kinds on customers with two accounts each
//   tatp.h        TATP: seven kinds on subscribers of a telephone network
//
// To add one: derive from TxnWorkload and TxnActor, and name it in bench/txn.cc. Actors are tested without a store, in
// workload_test.cc.
//
// A population has an audit: a sum over some of its records, of which each committed transaction says by how much it
// changes it. So a lost or doubled write shows at the end of a run.
//
// Threads: workloads are const, and shared. An actor is confined to one thread.

#ifndef ACRE_BENCH_TRANSACTIONS_WORKLOAD_H_
#define ACRE_BENCH_TRANSACTIONS_WORKLOAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/random.h"
#include "runtime/task.h"

namespace acre::bench {

struct TxnKind {
  const char* name;
  uint32_t percent;  // Of all transactions. Those of a workload add up to 100.
};

// The index of a kind, each as likely as its share.
size_t PickKind(const std::vector<TxnKind>& kinds, Random* random);

struct TxnRecord {
  std::string key;
  std::string value;
};

// What a transaction did, if it committed.
struct TxnEffect {
  // It found what it should not, or not what it should (the balance is too low, the row is there already), and so wrote
  // nothing. As published such transactions count.
  bool refused = false;
  int64_t audit_change = 0;
};

// What an actor may ask of the transaction that it is in: as client/transaction.h has it. The caller commits.
class TxnCalls {
 public:
  virtual ~TxnCalls() = default;

  virtual Task<absl::Status> Get(absl::string_view key, std::string* value) = 0;
  virtual Task<void> MultiGet(absl::Span<const absl::string_view> keys,
                              absl::Span<std::string> values,
                              absl::Span<absl::Status> statuses) = 0;
  [[nodiscard]] virtual absl::Status Put(absl::string_view key, absl::string_view value) = 0;
  [[nodiscard]] virtual absl::Status Delete(absl::string_view key) = 0;
};

class TxnActor {
 public:
  virtual ~TxnActor() = default;

  // Picks the next transaction. Its kind: an index into TxnWorkload::kinds().
  virtual size_t PickNext() = 0;
  // Carries out what was picked, once more with each call. OK: to be committed. Errors: the transaction's, NotFound for a
  // record that must be there; DataLoss - a record is none of this population.
  virtual Task<absl::Status> Attempt(TxnCalls* transaction) = 0;
  // Of the last attempt.
  const TxnEffect& effect() const { return effect_; }

 protected:
  TxnEffect effect_;
};

class TxnWorkload {
 public:
  virtual ~TxnWorkload() = default;

  virtual const char* name() const = 0;
  virtual const std::vector<TxnKind>& kinds() const = 0;
  // What the population is made of: accounts, customers, subscribers.
  virtual const char* units_name() const = 0;
  virtual uint32_t units_count() const = 0;
  // Appends the records of a unit. The same with each call.
  virtual void AppendRecords(uint32_t unit, std::vector<TxnRecord>* records) const = 0;

  virtual const char* audit_name() const = 0;
  // Appends the keys of a unit that are audited.
  virtual void AppendAuditKeys(uint32_t unit, std::vector<std::string>* keys) const = 0;
  // Some of them need not be there: those count 0.
  virtual bool audit_keys_may_miss() const { return false; }
  // What a record counts. DataLoss: it is none of this population.
  virtual absl::StatusOr<int64_t> AuditValue(absl::string_view value) const = 0;

  // The workload outlives its actors.
  virtual std::unique_ptr<TxnActor> MakeActor(uint64_t seed) const = 0;
};

// A value that is one signed number, 8 bytes, little-endian.
std::string EncodeNumber(int64_t number);
absl::StatusOr<int64_t> ParseNumber(absl::string_view value);

// Keys have 8 bytes, one of which has no meaning: with it they are put on the server that is wanted, as far as the servers'
// shares of the hashes go (kvs/key_share.h). So who knows what is used together keeps it together.
class TxnKeys {
 public:
  explicit TxnKeys(uint32_t servers_count) : servers_count_(servers_count) {}

  uint32_t servers_count() const { return servers_count_; }
  // Where all of a unit is.
  uint32_t ServerOf(uint32_t unit) const { return unit % servers_count_; }
  // `part`, `subpart`: of the record among those of its unit in its table.
  std::string Key(char table, uint32_t unit, uint8_t part = 0, uint8_t subpart = 0) const {
    return KeyOn(ServerOf(unit), table, unit, part, subpart);
  }
  std::string KeyOn(uint32_t server, char table, uint32_t unit, uint8_t part,
                    uint8_t subpart) const;
  // Wherever its hash says.
  static std::string AnyKey(char table, uint32_t unit, uint8_t part, uint8_t subpart);

 private:
  const uint32_t servers_count_;
};

// Which units the transactions of a bank choose.
struct UnitChoice {
  uint32_t units_count = 0;
  uint32_t servers_count = 1;
  // Of transactions with two units: how many percent have them on different servers. Negative: as chance has it.
  int distributed_percent = -1;
  // So many percent of all choices fall on the first `hot_units` units.
  uint32_t hot_percent = 0;
  uint32_t hot_units = 0;
};
// InvalidArgument: no two units can be chosen that way; the message says what to change.
absl::Status JudgeChoice(const UnitChoice& choice);

// Requires: a choice that JudgeChoice() lets pass.
uint32_t PickUnit(const UnitChoice& choice, Random* random);
// Two different ones.
std::pair<uint32_t, uint32_t> PickTwoUnits(const UnitChoice& choice, Random* random);

}  // namespace acre::bench

#endif  // ACRE_BENCH_TRANSACTIONS_WORKLOAD_H_
