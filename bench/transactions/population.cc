#include "bench/transactions/population.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::bench {
namespace {

constexpr uint32_t kLoaders = 64;
constexpr size_t kAuditBatch = 128;  // Keys at least of one MultiGet.

// What the loading coroutines share.
struct Load {
  AsyncClient* client;
  const TxnWorkload* workload;
  uint32_t next_unit = 0;
  absl::Status status = {};  // The first error.
};

Task<void> LoadSome(Load* load) {
  std::vector<TxnRecord> records;
  while (load->status.ok() && load->next_unit < load->workload->units_count()) {
    records.clear();
    load->workload->AppendRecords(load->next_unit++, &records);
    for (const TxnRecord& record : records) {
      const absl::Status status = co_await load->client->Put(record.key, record.value);
      if (!status.ok()) load->status = status;
    }
  }
}

Task<void> LoadAll(Scheduler* scheduler, Load* load) {
  std::vector<SpawnHandle> loaders;
  for (uint32_t i = 0; i < kLoaders; ++i) loaders.push_back(scheduler->Spawn(LoadSome(load)));
  for (SpawnHandle& loader : loaders) co_await loader.Join();
}

// Adds up the records of these keys.
absl::Status AuditKeys(Client* client, const TxnWorkload& workload,
                       const std::vector<std::string>& keys, int64_t* sum) {
  const std::vector<absl::string_view> views(keys.begin(), keys.end());
  std::vector<std::string> values(keys.size());
  std::vector<absl::Status> statuses(keys.size());
  client->MultiGet(views, absl::MakeSpan(values), absl::MakeSpan(statuses));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (absl::IsNotFound(statuses[i])) {
      if (workload.audit_keys_may_miss()) continue;
      return absl::DataLossError(
          absl::StrCat("the record \"", absl::CHexEscape(keys[i]), "\" is missing"));
    }
    if (!statuses[i].ok()) return statuses[i];
    const absl::StatusOr<int64_t> value = workload.AuditValue(values[i]);
    if (!value.ok()) return value.status();
    *sum += *value;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadPopulation(const ClientOptions& options, const TxnWorkload& workload) {
  RealClock clock;
  Scheduler scheduler({.clock = &clock, .poll_mode = options.poll, .name = "loader"});
  const auto client = scheduler.RunUntilDone(AsyncClient::Connect(&scheduler, options));
  if (!client.ok()) return client.status();
  Load load = {.client = client->get(), .workload = &workload};
  scheduler.RunUntilDone(LoadAll(&scheduler, &load));
  return load.status;
}

absl::StatusOr<int64_t> AuditPopulation(const ClientOptions& options, const TxnWorkload& workload) {
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options);
  if (!client.ok()) return client.status();
  int64_t sum = 0;
  std::vector<std::string> keys;
  for (uint32_t unit = 0; unit < workload.units_count(); ++unit) {
    workload.AppendAuditKeys(unit, &keys);
    if (keys.size() < kAuditBatch && unit + 1 < workload.units_count()) continue;
    const absl::Status status = AuditKeys(client->get(), workload, keys, &sum);
    if (!status.ok()) return status;
    keys.clear();
  }
  return sum;
}

uint64_t CountRecords(const TxnWorkload& workload) {
  uint64_t count = 0;
  std::vector<TxnRecord> records;
  for (uint32_t unit = 0; unit < workload.units_count(); ++unit) {
    records.clear();
    workload.AppendRecords(unit, &records);
    count += records.size();
  }
  return count;
}

}  // namespace acre::bench
