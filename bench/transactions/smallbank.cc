#include "bench/transactions/smallbank.h"

#include <array>
#include <cstddef>
#include <utility>

#include "absl/types/span.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// Indices into the kinds.
enum Kind : size_t {
  kAmalgamate,
  kBalance,
  kDepositChecking,
  kSendPayment,
  kTransactSavings,
  kWriteCheck,
};

// Cents.
constexpr int64_t kDeposit = 130;
constexpr int64_t kPayment = 500;
constexpr int64_t kWithdrawal = 2020;
constexpr int64_t kCheck = 500;
constexpr int64_t kOverdraftFee = 100;
constexpr int64_t kBalanceMin = 1'000'000;
constexpr int64_t kBalanceMax = 5'000'000;

constexpr char kSavings = 's';
constexpr char kChecking = 'c';
constexpr size_t kAccountsMax = 3;  // Of one transaction.

class SmallBankActor : public TxnActor {
 public:
  SmallBankActor(const UnitChoice& choice, const std::vector<TxnKind>& kinds, const TxnKeys& keys,
                 uint64_t seed)
      : choice_(choice), kinds_(kinds), keys_(keys), random_(seed) {}

  size_t PickNext() override {
    kind_ = static_cast<Kind>(PickKind(kinds_, &random_));
    count_ = 0;
    const bool takes_two = kind_ == kAmalgamate || kind_ == kSendPayment;
    const auto [one, other] = takes_two ? PickTwoUnits(choice_, &random_)
                                        : std::make_pair(PickUnit(choice_, &random_), 0u);
    switch (kind_) {
      case kAmalgamate:
        AddAccount(kSavings, one);
        AddAccount(kChecking, one);
        AddAccount(kChecking, other);
        break;
      case kSendPayment:
        AddAccount(kChecking, one);
        AddAccount(kChecking, other);
        break;
      case kBalance:
      case kWriteCheck:
        AddAccount(kSavings, one);
        AddAccount(kChecking, one);
        break;
      case kDepositChecking:
        AddAccount(kChecking, one);
        break;
      case kTransactSavings:
        AddAccount(kSavings, one);
        break;
    }
    return kind_;
  }

  Task<absl::Status> Attempt(TxnCalls* transaction) override {
    effect_ = TxnEffect();
    const auto views = absl::MakeSpan(views_).first(count_);
    const auto values = absl::MakeSpan(values_).first(count_);
    const auto statuses = absl::MakeSpan(statuses_).first(count_);
    co_await transaction->MultiGet(views, values, statuses);
    std::array<int64_t, kAccountsMax> before = {};
    for (size_t i = 0; i < count_; ++i) {
      if (!statuses_[i].ok()) co_return statuses_[i];
      const absl::StatusOr<int64_t> balance = ParseNumber(values_[i]);
      if (!balance.ok()) co_return balance.status();
      before[i] = *balance;
    }
    std::array<int64_t, kAccountsMax> after = before;
    Reckon(&after);
    for (size_t i = 0; i < count_; ++i) {
      effect_.audit_change += after[i] - before[i];
      if (kind_ == kBalance || effect_.refused) continue;
      // Also what stays the same: the published transactions write it.
      if (kind_ == kWriteCheck && i == 0) continue;
      const absl::Status status = transaction->Put(views_[i], EncodeNumber(after[i]));
      if (!status.ok()) co_return status;
    }
    co_return absl::OkStatus();
  }

 private:
  void AddAccount(char table, uint32_t customer) {
    accounts_[count_] = keys_.Key(table, customer);
    views_[count_] = accounts_[count_];
    ++count_;
  }

  // What the kind makes of the balances, in the order of PickNext().
  void Reckon(std::array<int64_t, kAccountsMax>* balances) {
    auto& [first, second, third] = *balances;
    switch (kind_) {
      case kAmalgamate:
        third += first + second;
        first = second = 0;
        break;
      case kBalance:
        break;
      case kDepositChecking:
        first += kDeposit;
        break;
      case kSendPayment:
        if (Refuse(first < kPayment)) break;
        first -= kPayment;
        second += kPayment;
        break;
      case kTransactSavings:
        if (Refuse(first < kWithdrawal)) break;
        first -= kWithdrawal;
        break;
      case kWriteCheck:
        second -= first + second < kCheck ? kCheck + kOverdraftFee : kCheck;
        break;
    }
  }
  bool Refuse(bool refused) {
    effect_.refused = refused;
    return refused;
  }

  const UnitChoice& choice_;
  const std::vector<TxnKind>& kinds_;
  const TxnKeys& keys_;
  Random random_;
  Kind kind_ = kBalance;
  size_t count_ = 0;  // Of the accounts that it touches.
  std::array<std::string, kAccountsMax> accounts_;
  std::array<absl::string_view, kAccountsMax> views_;
  std::array<std::string, kAccountsMax> values_;
  std::array<absl::Status, kAccountsMax> statuses_;
};

class SmallBank : public TxnWorkload {
 public:
  explicit SmallBank(const UnitChoice& choice) : choice_(choice), keys_(choice.servers_count) {}

  const char* name() const override { return "smallbank"; }
  const std::vector<TxnKind>& kinds() const override { return kinds_; }
  const char* units_name() const override { return "customers"; }
  uint32_t units_count() const override { return choice_.units_count; }
  void AppendRecords(uint32_t unit, std::vector<TxnRecord>* records) const override {
    Random random(unit);
    for (const char table : {kSavings, kChecking}) {
      const int64_t cents =
          kBalanceMin + static_cast<int64_t>(random.Uniform(kBalanceMax - kBalanceMin + 1));
      records->push_back({keys_.Key(table, unit), EncodeNumber(cents)});
    }
  }
  const char* audit_name() const override { return "sum of all balances in cents"; }
  void AppendAuditKeys(uint32_t unit, std::vector<std::string>* keys) const override {
    for (const char table : {kSavings, kChecking}) keys->push_back(keys_.Key(table, unit));
  }
  absl::StatusOr<int64_t> AuditValue(absl::string_view value) const override {
    return ParseNumber(value);
  }
  std::unique_ptr<TxnActor> MakeActor(uint64_t seed) const override {
    return std::make_unique<SmallBankActor>(choice_, kinds_, keys_, seed);
  }

 private:
  const UnitChoice choice_;
  const TxnKeys keys_;
  // By Kind.
  const std::vector<TxnKind> kinds_ = {{"amalgamate", 15},       {"balance", 15},
                                       {"deposit_checking", 15}, {"send_payment", 25},
                                       {"transact_savings", 15}, {"write_check", 15}};
};

}  // namespace

std::unique_ptr<TxnWorkload> MakeSmallBank(const UnitChoice& choice) {
  CHECK(JudgeChoice(choice).ok());
  return std::make_unique<SmallBank>(choice);
}

}  // namespace acre::bench
