#include "bench/transactions/transfer.h"

#include <array>
#include <utility>

#include "glog/logging.h"

namespace acre::bench {
namespace {

constexpr int64_t kBalanceAtStart = 1000;
constexpr uint64_t kAmountMax = 100;
constexpr size_t kTransferKind = 0;

class TransferActor : public TxnActor {
 public:
  TransferActor(const UnitChoice& choice, const std::vector<TxnKind>& kinds, const TxnKeys& keys,
                uint64_t seed)
      : choice_(choice), kinds_(kinds), keys_(keys), random_(seed) {}

  size_t PickNext() override {
    kind_ = PickKind(kinds_, &random_);
    const auto [from, to] = PickTwoUnits(choice_, &random_);
    accounts_ = {TransferKey(keys_, from), TransferKey(keys_, to)};
    views_ = {accounts_[0], accounts_[1]};
    amount_ = static_cast<int64_t>(random_.Uniform(kAmountMax) + 1);
    return kind_;
  }

  Task<absl::Status> Attempt(TxnCalls* transaction) override {
    co_await transaction->MultiGet(views_, absl::MakeSpan(values_), absl::MakeSpan(statuses_));
    for (const absl::Status& status : statuses_) {
      if (!status.ok()) co_return status;
    }
    if (kind_ != kTransferKind) co_return absl::OkStatus();
    const absl::StatusOr<int64_t> from = ParseNumber(values_[0]);
    const absl::StatusOr<int64_t> to = ParseNumber(values_[1]);
    if (!from.ok()) co_return from.status();
    if (!to.ok()) co_return to.status();
    const absl::Status status = transaction->Put(views_[0], EncodeNumber(*from - amount_));
    if (!status.ok()) co_return status;
    co_return transaction->Put(views_[1], EncodeNumber(*to + amount_));
  }

 private:
  const UnitChoice& choice_;
  const std::vector<TxnKind>& kinds_;
  const TxnKeys& keys_;
  Random random_;
  size_t kind_ = 0;
  std::array<std::string, 2> accounts_;
  std::array<absl::string_view, 2> views_;
  std::array<std::string, 2> values_;
  std::array<absl::Status, 2> statuses_;
  int64_t amount_ = 0;
};

class Transfer : public TxnWorkload {
 public:
  Transfer(const UnitChoice& choice, uint32_t read_percent)
      : choice_(choice),
        keys_(choice.servers_count),
        kinds_({{"transfer", 100 - read_percent}, {"read", read_percent}}) {
    if (read_percent == 0) kinds_.pop_back();
  }

  const char* name() const override { return "transfer"; }
  const std::vector<TxnKind>& kinds() const override { return kinds_; }
  const char* units_name() const override { return "accounts"; }
  uint32_t units_count() const override { return choice_.units_count; }
  void AppendRecords(uint32_t unit, std::vector<TxnRecord>* records) const override {
    records->push_back({TransferKey(keys_, unit), EncodeNumber(kBalanceAtStart)});
  }
  const char* audit_name() const override { return "sum of all balances"; }
  void AppendAuditKeys(uint32_t unit, std::vector<std::string>* keys) const override {
    keys->push_back(TransferKey(keys_, unit));
  }
  absl::StatusOr<int64_t> AuditValue(absl::string_view value) const override {
    return ParseNumber(value);
  }
  std::unique_ptr<TxnActor> MakeActor(uint64_t seed) const override {
    return std::make_unique<TransferActor>(choice_, kinds_, keys_, seed);
  }

 private:
  const UnitChoice choice_;
  const TxnKeys keys_;
  std::vector<TxnKind> kinds_;
};

constexpr absl::string_view kCounterKey = "counter";

class CounterActor : public TxnActor {
 public:
  CounterActor() { effect_.audit_change = 1; }
  size_t PickNext() override { return 0; }
  Task<absl::Status> Attempt(TxnCalls* transaction) override {
    const absl::Status status = co_await transaction->Get(kCounterKey, &value_);
    if (!status.ok()) co_return status;
    const absl::StatusOr<int64_t> count = ParseNumber(value_);
    if (!count.ok()) co_return count.status();
    co_return transaction->Put(kCounterKey, EncodeNumber(*count + 1));
  }

 private:
  std::string value_;
};

class Counter : public TxnWorkload {
 public:
  const char* name() const override { return "counter"; }
  const std::vector<TxnKind>& kinds() const override { return kinds_; }
  const char* units_name() const override { return "counter"; }
  uint32_t units_count() const override { return 1; }
  void AppendRecords(uint32_t, std::vector<TxnRecord>* records) const override {
    records->push_back({std::string(kCounterKey), EncodeNumber(0)});
  }
  const char* audit_name() const override { return "count"; }
  void AppendAuditKeys(uint32_t, std::vector<std::string>* keys) const override {
    keys->emplace_back(kCounterKey);
  }
  absl::StatusOr<int64_t> AuditValue(absl::string_view value) const override {
    return ParseNumber(value);
  }
  std::unique_ptr<TxnActor> MakeActor(uint64_t) const override {
    return std::make_unique<CounterActor>();
  }

 private:
  const std::vector<TxnKind> kinds_ = {{"increment", 100}};
};

}  // namespace

std::string TransferKey(const TxnKeys& keys, uint32_t account) { return keys.Key('t', account); }

std::unique_ptr<TxnWorkload> MakeTransfer(const UnitChoice& choice, uint32_t read_percent) {
  CHECK(JudgeChoice(choice).ok() && read_percent <= 100);
  return std::make_unique<Transfer>(choice, read_percent);
}

std::unique_ptr<TxnWorkload> MakeCounter() { return std::make_unique<Counter>(); }

}  // namespace acre::bench
