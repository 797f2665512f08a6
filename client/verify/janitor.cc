#include "client/verify/janitor.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/verify/journal.h"
#include "client/verify/session.h"
#include "client/verify/worker.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::verify {
namespace {

constexpr uint32_t kOutstanding = 16;
// Between two attempts at a key that cannot be had.
constexpr uint64_t kRetryNs = 20'000'000;

std::vector<std::string> NamesOf(const Epoch& epoch, const std::vector<KeyId>& keys) {
  std::vector<std::string> names;
  for (const KeyId& key : keys) {
    names.push_back(KeyName(epoch, key));
    if (IsMoving(key)) names.push_back(KeyName(epoch, key, /*other_place=*/true));
  }
  return names;
}

class Janitor {
 public:
  Janitor(const JanitorOptions& options, Board* board)
      : options_(options), board_(board), scheduler_({.clock = &clock_, .name = "janitor"}) {}

  int Probe(const std::vector<KeyId>& keys, uint64_t killed_ns) {
    return Finish(scheduler_.RunUntilDone(ProbeAll(NamesOf(options_.epoch, keys), killed_ns)));
  }

  int End() {
    const KeyCounters counters(options_.plan, board_->key_counters());
    return Finish(scheduler_.RunUntilDone(ReadAndDelete(counters.AllKeys())));
  }

 private:
  int Finish(const absl::Status& status) {
    client_.reset();
    if (status.ok()) return kJanitorDone;
    board_->seat(options_.seat).failure.Set(status.message());
    return absl::IsDeadlineExceeded(status) ? kJanitorFoundLock : kJanitorFailed;
  }

  Task<absl::Status> Connect() {
    auto client = co_await AsyncClient::Connect(&scheduler_, options_.client);
    if (client.ok()) client_ = *std::move(client);
    co_return client.status();
  }

  // ---- After a kill.

  Task<absl::Status> ProbeAll(std::vector<std::string> names, uint64_t killed_ns) {
    absl::Status status = co_await Connect();
    if (!status.ok()) co_return status;
    const uint64_t deadline_ns =
        killed_ns + static_cast<uint64_t>(options_.recovery_ms) * 1'000'000;
    for (const std::string& name : names) {
      status = co_await ProbeOne(name, deadline_ns);
      if (!status.ok()) co_return status;
    }
    const uint64_t took_ns = scheduler_.NowNs() - killed_ns;
    SharedWord& slowest = board_->slowest_ns();  // One janitor at a time.
    slowest.Store(std::max(took_ns, slowest.Load(std::memory_order_relaxed)),
                  std::memory_order_relaxed);
    co_return absl::OkStatus();
  }

  // DeadlineExceeded: it could not be had.
  Task<absl::Status> ProbeOne(const std::string& name, uint64_t deadline_ns) {
    const AsyncTransactionFunction rewrite = [this, &name](AsyncTransaction* transaction) {
      return Rewrite(name, transaction);
    };
    absl::Status status;
    do {
      RunOptions run;
      const uint64_t now_ns = scheduler_.NowNs();
      run.timeout_ms =
          1 + static_cast<int64_t>((std::max(deadline_ns, now_ns) - now_ns) / 1'000'000);
      status = co_await client_->RunTransaction(rewrite, run);
      if (status.ok()) co_return status;
      co_await scheduler_.SleepFor(kRetryNs);
    } while (scheduler_.NowNs() < deadline_ns);
    co_return absl::DeadlineExceededError(absl::StrFormat(
        "%s could not be read and written within %d ms after its process was killed: %s", name,
        options_.recovery_ms, status.ToString()));
  }

  Task<absl::Status> Rewrite(const std::string& name, AsyncTransaction* transaction) {
    std::string value;
    const absl::Status status = co_await transaction->Get(name, &value);
    if (absl::IsNotFound(status)) co_return transaction->Delete(name);
    if (!status.ok()) co_return status;
    co_return transaction->Put(name, value);
  }

  // ---- At the end of an epoch.

  Task<absl::Status> ReadAndDelete(std::vector<KeyId> keys) {
    absl::Status status = co_await Connect();
    if (!status.ok()) co_return status;
    status = co_await ReadAll(keys);
    // What could not be read is deleted all the same.
    if (options_.deletes) {
      const absl::Status deleted = co_await DeleteAll(NamesOf(options_.epoch, keys));
      if (status.ok()) status = deleted;
    }
    co_return status;
  }

  Task<absl::Status> ReadAll(const std::vector<KeyId>& keys) {
    Seat& seat = board_->seat(options_.seat);
    JournalWriter journal(&seat.length, board_->journal_room(options_.seat));
    const std::unique_ptr<Store> store = StoreOf(client_.get());
    ReadEach plans(keys);
    // The workers' are used up, and their epoch is over.
    SharedWord begun{};
    SharedWord stopped_epoch{};
    const SharedNumbers numbers = {board_->numbers().next_process, &begun, &stopped_epoch};
    Session session(&scheduler_, store.get(), &plans, &journal, numbers,
                    {.plan = options_.plan,
                     .epoch = options_.epoch,
                     .outstanding = kOutstanding,
                     .transactions_max = UINT64_MAX});
    co_await session.Run();
    const absl::Status& error = session.first_error();
    if (error.ok()) co_return error;
    co_return absl::Status(
        error.code(),
        absl::StrCat("a key could not be read after all others had ended: ", error.ToString()));
  }

  Task<absl::Status> DeleteAll(std::vector<std::string> names) {
    std::vector<SpawnHandle> handles;
    DeleteState state = {std::move(names)};
    for (uint32_t i = 0; i < kOutstanding; ++i) {
      handles.push_back(scheduler_.Spawn(DeleteSome(&state)));
    }
    for (SpawnHandle& handle : handles) co_await handle.Join();
    co_return state.status;
  }

  struct DeleteState {
    const std::vector<std::string> names;
    size_t next = 0;
    absl::Status status = {};
  };
  Task<void> DeleteSome(DeleteState* state) {
    while (state->next < state->names.size()) {
      const std::string& name = state->names[state->next++];
      const absl::Status status = co_await client_->Delete(name);
      if (status.ok() || absl::IsNotFound(status) || !state->status.ok()) continue;
      state->status = absl::Status(status.code(),
                                   absl::StrCat("cannot delete ", name, ": ", status.ToString()));
    }
  }

  const JanitorOptions& options_;
  Board* const board_;
  RealClock clock_;
  Scheduler scheduler_;
  std::unique_ptr<AsyncClient> client_;
};

}  // namespace

int ProbeKeys(const JanitorOptions& options, const std::vector<KeyId>& keys, uint64_t killed_ns,
              Board* board) {
  return Janitor(options, board).Probe(keys, killed_ns);
}

int EndEpoch(const JanitorOptions& options, Board* board) { return Janitor(options, board).End(); }

}  // namespace acre::verify
