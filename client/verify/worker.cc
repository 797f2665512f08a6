#include "client/verify/worker.h"

#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/verify/journal.h"
#include "client/verify/session.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace acre::verify {
namespace {

// How often a thread without work looks for the next epoch.
constexpr uint64_t kLookNs = 1'000'000;

static_assert(static_cast<size_t>(AbortReason::Phase::kFenced) < kPhasesMax);

class ClientTransaction : public StoreTransaction {
 public:
  explicit ClientTransaction(std::unique_ptr<AsyncTransaction> owned)
      : owned_(std::move(owned)), transaction_(owned_.get()) {}
  explicit ClientTransaction(AsyncTransaction* borrowed) : transaction_(borrowed) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    return transaction_->Get(key, value);
  }
  Task<void> MultiGet(absl::Span<const absl::string_view> keys, absl::Span<std::string> values,
                      absl::Span<absl::Status> statuses) override {
    return transaction_->MultiGet(keys, values, statuses);
  }
  absl::Status Put(absl::string_view key, absl::string_view value) override {
    return transaction_->Put(key, value);
  }
  absl::Status Delete(absl::string_view key) override { return transaction_->Delete(key); }
  Task<absl::Status> Commit() override { return transaction_->Commit(); }
  uint8_t abort_phase() const override {
    return static_cast<uint8_t>(transaction_->reason().phase);
  }
  bool is_outcome_unknown() const override { return transaction_->is_outcome_unknown(); }

 private:
  const std::unique_ptr<AsyncTransaction> owned_;  // Null: RunTransaction() has it.
  AsyncTransaction* const transaction_;
};

class ClientStore : public Store {
 public:
  explicit ClientStore(AsyncClient* client) : client_(client) {}

  Task<absl::Status> Get(absl::string_view key, std::string* value) override {
    return client_->Get(key, value);
  }
  Task<absl::Status> Put(absl::string_view key, absl::string_view value) override {
    return client_->Put(key, value);
  }
  std::unique_ptr<StoreTransaction> Begin() override {
    return std::make_unique<ClientTransaction>(client_->Begin());
  }
  Task<absl::Status> RunTransaction(const StoreFunction& function) override {
    const AsyncTransactionFunction run = [&function](AsyncTransaction* transaction) {
      return RunIn(transaction, &function);
    };
    const absl::Status status = co_await client_->RunTransaction(run);
    co_return status;
  }

 private:
  static Task<absl::Status> RunIn(AsyncTransaction* transaction, const StoreFunction* function) {
    ClientTransaction wrapped(transaction);
    const absl::Status status = co_await (*function)(&wrapped);
    co_return status;
  }

  AsyncClient* const client_;
};

class WorkerThread {
 public:
  WorkerThread(const WorkerOptions& options, Board* board, size_t seat, uint64_t seed)
      : options_(options),
        board_(board),
        seat_(seat),
        scheduler_({.clock = &clock_, .seed = seed, .name = "verify"}),
        counters_(options.plan, board->key_counters()),
        plans_(options.plan, &counters_, seed) {}

  bool Run() {
    const absl::Status status = scheduler_.RunUntilDone(Work());
    if (!status.ok()) board_->seat(seat_).failure.Set(status.message());
    return status.ok();
  }

 private:
  Task<absl::Status> Work() {
    auto client = co_await AsyncClient::Connect(&scheduler_, options_.client);
    if (!client.ok()) co_return client.status();
    const std::unique_ptr<Store> store = StoreOf(client->get());
    Seat& seat = board_->seat(seat_);
    seat.way.Set(absl::StrCat(PathName((*client)->path()), " over ", (*client)->fabric()));
    seat.is_ready.Store(1, std::memory_order_release);
    uint64_t done = seat.done_epoch.Load(std::memory_order_relaxed);
    while (true) {
      const uint32_t epoch = board_->epoch();
      if (epoch == kEndOfEpochs) co_return absl::OkStatus();
      if (epoch == done) {
        co_await scheduler_.SleepFor(kLookNs);
        continue;
      }
      co_await RunEpoch(epoch, store.get());
      done = epoch;
      seat.done_epoch.Store(done, std::memory_order_release);
    }
  }

  Task<void> RunEpoch(uint32_t epoch, Store* store) {
    Seat& seat = board_->seat(seat_);
    JournalWriter journal(&seat.length, board_->journal_room(seat_));
    Session session(&scheduler_, store, &plans_, &journal, board_->numbers(),
                    {.plan = options_.plan,
                     .epoch = {.prefix = options_.prefix, .number = epoch},
                     .outstanding = options_.outstanding,
                     .transactions_max = options_.transactions_max});
    co_await session.Run();
    if (!session.first_error().ok()) seat.first_error.Set(session.first_error().ToString());
  }

  const WorkerOptions& options_;
  Board* const board_;
  const size_t seat_;
  RealClock clock_;
  Scheduler scheduler_;
  KeyCounters counters_;
  PlanSource plans_;
};

}  // namespace

std::unique_ptr<Store> StoreOf(AsyncClient* client) {
  return std::make_unique<ClientStore>(client);
}

int RunWorker(const WorkerOptions& options, Board* board, size_t first_seat) {
  std::vector<char> are_fine(options.threads);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < options.threads; ++i) {
    threads.emplace_back([&, i] {
      WorkerThread thread(options, board, first_seat + i,
                          options.seed + (i + 1) * 0x9e3779b97f4a7c15);
      are_fine[i] = thread.Run() ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const char is_fine : are_fine) {
    if (is_fine == 0) return 1;
  }
  return 0;
}

}  // namespace acre::verify
