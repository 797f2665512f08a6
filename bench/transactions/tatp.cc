#include "bench/transactions/tatp.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// Indices into the kinds.
enum Kind : size_t {
  kGetSubscriber,
  kGetNewDestination,
  kGetAccess,
  kUpdateSubscriber,
  kUpdateLocation,
  kInsertForwarding,
  kDeleteForwarding,
};

// Tables. The parts of a key: the type of access info or facility, from 0, and the start time, in units of 8 hours.
constexpr char kSubscribers = 'u';
constexpr char kNumbers = 'n';
constexpr char kAccessInfos = 'a';
constexpr char kFacilities = 'f';
constexpr char kForwardings = 'w';

constexpr uint8_t kTypes = 4;       // Of access info, and of special facility.
constexpr uint8_t kStartTimes = 3;  // 0, 8 and 16 o'clock.
constexpr uint8_t kHoursPerStart = 8;
constexpr uint64_t kActivePercent = 85;
constexpr size_t kRowsMax = 1 + kStartTimes;  // Of one MultiGet.

struct SubscriberRow {
  uint16_t bits;        // bit_1 to bit_10.
  uint8_t hex[5];       // hex_1 to hex_10.
  uint8_t byte2[10];    // byte2_1 to byte2_10.
  uint8_t reserved[3];  // 0.
  uint32_t msc_location;
  uint32_t vlr_location;
};
struct AccessInfoRow {
  uint8_t data1;
  uint8_t data2;
  char data3[3];
  char data4[5];
};
struct FacilityRow {
  uint8_t is_active;
  uint8_t error_control;
  uint8_t data_a;
  char data_b[5];
};
struct NumberRow {
  uint32_t subscriber;
};
struct __attribute__((packed)) ForwardingRow {
  uint8_t end_time;
  uint64_t number;
};
static_assert(sizeof(SubscriberRow) == 28 && sizeof(AccessInfoRow) == 10);
static_assert(sizeof(FacilityRow) == 8 && sizeof(NumberRow) == 4 && sizeof(ForwardingRow) == 9);

template <class Row>
std::string Encode(const Row& row) {
  static_assert(std::is_trivially_copyable_v<Row>);
  return std::string(reinterpret_cast<const char*>(&row), sizeof(row));
}

template <class Row>
absl::Status Decode(absl::string_view value, Row* row) {
  if (value.size() != sizeof(*row)) {
    return absl::DataLossError(
        absl::StrCat("a row of ", value.size(), " bytes, instead of ", sizeof(*row)));
  }
  std::memcpy(row, value.data(), sizeof(*row));
  return absl::OkStatus();
}

template <size_t kCount>
void FillLetters(char (&letters)[kCount], Random* random) {
  for (char& letter : letters) letter = static_cast<char>('A' + random->Uniform(26));
}
uint8_t RandomByte(Random* random) { return static_cast<uint8_t>(random->Uniform(256)); }
// 15 digits.
uint64_t RandomNumber(Random* random) { return random->Uniform(1'000'000'000'000'000); }

// Where rows are.
class TatpKeys {
 public:
  explicit TatpKeys(const TatpOptions& options)
      : keys_(options.servers_count), spread_percent_(options.spread_percent) {}

  std::string Key(char table, uint32_t subscriber, uint8_t part = 0, uint8_t subpart = 0) const {
    // Not by the last digits: those decide the server of the others.
    const bool is_spread = subscriber / keys_.servers_count() % 100 < spread_percent_;
    return is_spread ? TxnKeys::AnyKey(table, subscriber, part, subpart)
                     : keys_.Key(table, subscriber, part, subpart);
  }

 private:
  const TxnKeys keys_;
  const uint32_t spread_percent_;
};

class TatpActor : public TxnActor {
 public:
  TatpActor(const TatpOptions& options, const std::vector<TxnKind>& kinds, const TatpKeys& keys,
            uint64_t seed)
      : options_(options), kinds_(kinds), keys_(keys), random_(seed) {}

  size_t PickNext() override {
    kind_ = static_cast<Kind>(PickKind(kinds_, &random_));
    subscriber_ = PickSubscriber(options_.subscribers, &random_);
    type_ = static_cast<uint8_t>(random_.Uniform(kTypes));
    start_ = static_cast<uint8_t>(random_.Uniform(kStartTimes));
    end_time_ = static_cast<uint8_t>(random_.Uniform(24) + 1);
    random_bits_ = random_.Next();
    return kind_;
  }

  Task<absl::Status> Attempt(TxnCalls* transaction) override {
    effect_ = TxnEffect();
    switch (kind_) {
      case kGetSubscriber:
        return GetOne(transaction, kSubscribers, 0);
      case kGetNewDestination:
        return GetNewDestination(transaction);
      case kGetAccess:
        return GetOne(transaction, kAccessInfos, type_);
      case kUpdateSubscriber:
        return UpdateSubscriber(transaction);
      case kUpdateLocation:
        return UpdateLocation(transaction);
      case kInsertForwarding:
        return InsertForwarding(transaction);
      case kDeleteForwarding:
        return DeleteForwarding(transaction);
    }
    LOG(FATAL) << "not a kind";
  }

 private:
  void StartRows() { rows_count_ = 0; }
  void AddRow(std::string key) {
    row_keys_[rows_count_] = std::move(key);
    views_[rows_count_] = row_keys_[rows_count_];
    ++rows_count_;
  }
  // OK: each row was read or is not there, as statuses_ say.
  Task<absl::Status> ReadRows(TxnCalls* transaction) {
    const auto views = absl::MakeSpan(views_).first(rows_count_);
    const auto values = absl::MakeSpan(values_).first(rows_count_);
    const auto statuses = absl::MakeSpan(statuses_).first(rows_count_);
    co_await transaction->MultiGet(views, values, statuses);
    for (const absl::Status& status : statuses) {
      if (!status.ok() && !absl::IsNotFound(status)) co_return status;
    }
    co_return absl::OkStatus();
  }
  absl::Status Refuse() {
    effect_.refused = true;
    return absl::OkStatus();
  }

  Task<absl::Status> GetOne(TxnCalls* transaction, char table, uint8_t part) {
    StartRows();
    AddRow(keys_.Key(table, subscriber_, part));
    const absl::Status status = co_await ReadRows(transaction);
    if (!status.ok()) co_return status;
    // Subscribers are there, all of them.
    if (table == kSubscribers) co_return statuses_[0];
    co_return statuses_[0].ok() ? statuses_[0] : Refuse();
  }

  Task<absl::Status> GetNewDestination(TxnCalls* transaction) {
    StartRows();
    AddRow(keys_.Key(kFacilities, subscriber_, type_));
    absl::Status status = co_await ReadRows(transaction);
    if (!status.ok()) co_return status;
    FacilityRow facility = {};
    if (!statuses_[0].ok()) co_return Refuse();
    status = Decode(values_[0], &facility);
    if (!status.ok()) co_return status;
    if (facility.is_active == 0) co_return Refuse();
    StartRows();
    for (uint8_t start = 0; start <= start_; ++start) {
      AddRow(keys_.Key(kForwardings, subscriber_, type_, start));
    }
    status = co_await ReadRows(transaction);
    if (!status.ok()) co_return status;
    bool any = false;
    for (size_t i = 0; i < rows_count_; ++i) {
      if (!statuses_[i].ok()) continue;
      ForwardingRow forwarding = {};
      status = Decode(values_[i], &forwarding);
      if (!status.ok()) co_return status;
      any = any || end_time_ < forwarding.end_time;
    }
    co_return any ? absl::OkStatus() : Refuse();
  }

  Task<absl::Status> UpdateSubscriber(TxnCalls* transaction) {
    StartRows();
    AddRow(keys_.Key(kSubscribers, subscriber_));
    AddRow(keys_.Key(kFacilities, subscriber_, type_));
    absl::Status status = co_await ReadRows(transaction);
    if (status.ok()) status = statuses_[0];
    if (!status.ok()) co_return status;
    if (!statuses_[1].ok()) co_return Refuse();
    SubscriberRow row = {};
    FacilityRow facility = {};
    status = Decode(values_[0], &row);
    if (status.ok()) status = Decode(values_[1], &facility);
    if (!status.ok()) co_return status;
    row.bits = static_cast<uint16_t>((row.bits & ~1u) | (random_bits_ & 1));
    facility.data_a = static_cast<uint8_t>(random_bits_ >> 1);
    status = transaction->Put(views_[0], Encode(row));
    if (status.ok()) status = transaction->Put(views_[1], Encode(facility));
    co_return status;
  }

  // The subscriber with the number that was picked.
  Task<absl::StatusOr<uint32_t>> FindByNumber(TxnCalls* transaction) {
    StartRows();
    AddRow(keys_.Key(kNumbers, subscriber_));
    absl::Status status = co_await ReadRows(transaction);
    if (status.ok()) status = statuses_[0];
    NumberRow row = {};
    if (status.ok()) status = Decode(values_[0], &row);
    if (!status.ok()) co_return status;
    co_return row.subscriber;
  }

  Task<absl::Status> UpdateLocation(TxnCalls* transaction) {
    const absl::StatusOr<uint32_t> subscriber = co_await FindByNumber(transaction);
    if (!subscriber.ok()) co_return subscriber.status();
    StartRows();
    AddRow(keys_.Key(kSubscribers, *subscriber));
    absl::Status status = co_await ReadRows(transaction);
    if (status.ok()) status = statuses_[0];
    SubscriberRow row = {};
    if (status.ok()) status = Decode(values_[0], &row);
    if (!status.ok()) co_return status;
    row.vlr_location = static_cast<uint32_t>(random_bits_);
    co_return transaction->Put(views_[0], Encode(row));
  }

  Task<absl::Status> InsertForwarding(TxnCalls* transaction) {
    const absl::StatusOr<uint32_t> subscriber = co_await FindByNumber(transaction);
    if (!subscriber.ok()) co_return subscriber.status();
    StartRows();
    AddRow(keys_.Key(kForwardings, *subscriber, type_, start_));
    AddRow(keys_.Key(kFacilities, *subscriber, type_));
    const absl::Status status = co_await ReadRows(transaction);
    if (!status.ok()) co_return status;
    if (statuses_[0].ok() || !statuses_[1].ok()) co_return Refuse();
    effect_.audit_change = 1;
    co_return transaction->Put(
        views_[0], Encode(ForwardingRow{.end_time = end_time_, .number = random_bits_ >> 16}));
  }

  Task<absl::Status> DeleteForwarding(TxnCalls* transaction) {
    const absl::StatusOr<uint32_t> subscriber = co_await FindByNumber(transaction);
    if (!subscriber.ok()) co_return subscriber.status();
    StartRows();
    AddRow(keys_.Key(kForwardings, *subscriber, type_, start_));
    const absl::Status status = co_await ReadRows(transaction);
    if (!status.ok()) co_return status;
    if (!statuses_[0].ok()) co_return Refuse();
    effect_.audit_change = -1;
    co_return transaction->Delete(views_[0]);
  }

  const TatpOptions& options_;
  const std::vector<TxnKind>& kinds_;
  const TatpKeys& keys_;
  Random random_;
  // What was picked.
  Kind kind_ = kGetSubscriber;
  uint32_t subscriber_ = 0;
  uint8_t type_ = 0;
  uint8_t start_ = 0;
  uint8_t end_time_ = 0;
  uint64_t random_bits_ = 0;
  // Rows that are read at once.
  size_t rows_count_ = 0;
  std::array<std::string, kRowsMax> row_keys_;
  std::array<absl::string_view, kRowsMax> views_;
  std::array<std::string, kRowsMax> values_;
  std::array<absl::Status, kRowsMax> statuses_;
};

// `count` of the numbers below N, in random order.
template <uint8_t kBelow>
std::vector<uint8_t> PickSome(uint64_t count, Random* random) {
  std::vector<uint8_t> numbers;
  for (uint8_t i = 0; i < kBelow; ++i) numbers.push_back(i);
  for (size_t i = 0; i < count; ++i) {
    std::swap(numbers[i], numbers[i + random->Uniform(kBelow - i)]);
  }
  numbers.resize(count);
  return numbers;
}

class Tatp : public TxnWorkload {
 public:
  explicit Tatp(const TatpOptions& options) : options_(options), keys_(options) {}

  const char* name() const override { return "tatp"; }
  const std::vector<TxnKind>& kinds() const override { return kinds_; }
  const char* units_name() const override { return "subscribers"; }
  uint32_t units_count() const override { return options_.subscribers; }

  void AppendRecords(uint32_t unit, std::vector<TxnRecord>* records) const override {
    Random random(unit);
    records->push_back({keys_.Key(kNumbers, unit), Encode(NumberRow{.subscriber = unit})});
    records->push_back({keys_.Key(kSubscribers, unit), Encode(MakeSubscriber(&random))});
    for (const uint8_t type : PickSome<kTypes>(random.Uniform(kTypes) + 1, &random)) {
      AccessInfoRow row = {};
      row.data1 = RandomByte(&random);
      row.data2 = RandomByte(&random);
      FillLetters(row.data3, &random);
      FillLetters(row.data4, &random);
      records->push_back({keys_.Key(kAccessInfos, unit, type), Encode(row)});
    }
    for (const uint8_t type : PickSome<kTypes>(random.Uniform(kTypes) + 1, &random)) {
      FacilityRow row = {};
      row.is_active = random.Uniform(100) < kActivePercent ? 1 : 0;
      row.error_control = RandomByte(&random);
      row.data_a = RandomByte(&random);
      FillLetters(row.data_b, &random);
      records->push_back({keys_.Key(kFacilities, unit, type), Encode(row)});
      const uint64_t forwardings = random.Uniform(kStartTimes + 1);
      for (const uint8_t start : PickSome<kStartTimes>(forwardings, &random)) {
        const uint64_t end_time = start * kHoursPerStart + random.Uniform(kHoursPerStart) + 1;
        records->push_back({keys_.Key(kForwardings, unit, type, start),
                            Encode(ForwardingRow{.end_time = static_cast<uint8_t>(end_time),
                                                 .number = RandomNumber(&random)})});
      }
    }
  }

  const char* audit_name() const override { return "number of call forwardings"; }
  void AppendAuditKeys(uint32_t unit, std::vector<std::string>* keys) const override {
    for (uint8_t type = 0; type < kTypes; ++type) {
      for (uint8_t start = 0; start < kStartTimes; ++start) {
        keys->push_back(keys_.Key(kForwardings, unit, type, start));
      }
    }
  }
  bool audit_keys_may_miss() const override { return true; }
  absl::StatusOr<int64_t> AuditValue(absl::string_view value) const override {
    ForwardingRow row = {};
    const absl::Status status = Decode(value, &row);
    if (!status.ok()) return status;
    return 1;
  }
  std::unique_ptr<TxnActor> MakeActor(uint64_t seed) const override {
    return std::make_unique<TatpActor>(options_, kinds_, keys_, seed);
  }

 private:
  static SubscriberRow MakeSubscriber(Random* random) {
    SubscriberRow row = {};
    row.bits = static_cast<uint16_t>(random->Uniform(1 << 10));
    for (uint8_t& digits : row.hex) digits = RandomByte(random);
    for (uint8_t& byte : row.byte2) byte = RandomByte(random);
    row.msc_location = static_cast<uint32_t>(random->Next());
    row.vlr_location = static_cast<uint32_t>(random->Next());
    return row;
  }

  const TatpOptions options_;
  const TatpKeys keys_;
  // By Kind.
  const std::vector<TxnKind> kinds_ = {{"get_subscriber", 35},  {"get_new_destination", 10},
                                       {"get_access", 35},      {"update_subscriber", 2},
                                       {"update_location", 14}, {"insert_forwarding", 2},
                                       {"delete_forwarding", 2}};
};

}  // namespace

uint32_t PickSubscriber(uint32_t subscribers, Random* random) {
  const uint64_t a = subscribers <= 1'000'000    ? 65'535
                     : subscribers <= 10'000'000 ? 1'048'575
                                                 : 2'097'151;
  const uint64_t bits = random->Uniform(a + 1) | (random->Uniform(subscribers) + 1);
  return static_cast<uint32_t>(bits % subscribers);
}

std::unique_ptr<TxnWorkload> MakeTatp(const TatpOptions& options) {
  CHECK(options.subscribers > 0 && options.servers_count > 0 && options.spread_percent <= 100);
  return std::make_unique<Tatp>(options);
}

}  // namespace acre::bench
