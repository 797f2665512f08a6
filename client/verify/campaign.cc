#include "client/verify/campaign.h"

#include <poll.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/isolation/history.h"
#include "client/verify/board.h"
#include "client/verify/child.h"
#include "client/verify/janitor.h"
#include "client/verify/worker.h"
#include "glog/logging.h"
#include "runtime/clock.h"
#include "runtime/random.h"

namespace acre::verify {
namespace {

using isolation::History;
using isolation::Report;

constexpr int kLookMs = 2;
// Of a seat's journal, in numbers: 64 MiB of address space.
constexpr size_t kJournalNumbers = 16 << 20;
// How long threads may take to connect, to end what they have under way, and the janitor for an
// epoch's end. Only what is stuck takes so long.
constexpr uint64_t kPatienceNs = 120'000'000'000;

class Campaign {
 public:
  explicit Campaign(const CampaignOptions& options) : options_(options), random_(options.seed) {}

  absl::StatusOr<Verdict> Run() {
    absl::Status status = Begin();
    while (status.ok() && verdict_.passes && !IsOver()) status = RunEpoch();
    if (!status.ok()) return status;
    status = End();
    if (!status.ok()) return status;
    return std::move(verdict_);
  }

 private:
  struct Worker {
    std::unique_ptr<ChildProcess> process;
    size_t first_seat = 0;
  };

  bool IsInterrupted() const { return options_.is_interrupted && options_.is_interrupted(); }
  bool IsOver() const {
    return IsInterrupted() || static_cast<double>(verdict_.load_ns) >= options_.seconds * 1e9;
  }
  size_t janitor_seat() const { return board_->seats() - 1; }
  size_t workers_seats() const { return board_->seats() - 1; }
  static void Pause() { poll(nullptr, 0, kLookMs); }

  // ---- Workers.

  absl::Status Begin() {
    if (!options_.history_path.empty()) {
      history_file_.open(options_.history_path, std::ios::trunc);
      if (!history_file_) {
        return absl::UnavailableError(absl::StrCat("cannot write ", options_.history_path));
      }
    }
    auto board = Board::Map(size_t{options_.processes} * options_.threads + 1, options_.plan.keys,
                            kJournalNumbers);
    if (!board.ok()) return board.status();
    board_ = *std::move(board);
    workers_.resize(options_.processes);
    for (size_t i = 0; i < workers_.size(); ++i) {
      workers_[i].first_seat = i * options_.threads;
      absl::Status status = StartWorker(&workers_[i]);
      if (!status.ok()) return status;
    }
    const auto is_ready = [this](size_t seat) {
      return board_->seat(seat).is_ready.Load(std::memory_order_acquire) == 1;
    };
    absl::Status status = WaitForSeats(is_ready, "connected");
    verdict_.way = board_->seat(0).way.Get();
    return status;
  }

  absl::Status StartWorker(Worker* worker) {
    WorkerOptions worker_options = {.client = options_.client,
                                    .plan = options_.plan,
                                    .prefix = options_.prefix,
                                    .threads = options_.threads,
                                    .outstanding = options_.outstanding,
                                    .transactions_max = options_.epoch_transactions,
                                    .seed = random_.Next()};
    auto process = ChildProcess::Fork([this, worker_options, worker] {
      return RunWorker(worker_options, board_.get(), worker->first_seat);
    });
    if (!process.ok()) return process.status();
    worker->process = *std::move(process);
    return absl::OkStatus();
  }

  // What keeps a worker from going on: none should.
  absl::Status JudgeWorkers() {
    for (size_t i = 0; i < workers_seats(); ++i) {
      const std::string failure = board_->seat(i).failure.Get();
      if (!failure.empty()) return absl::UnavailableError(failure);
    }
    for (const Worker& worker : workers_) {
      if (!worker.process->HasEnded()) continue;
      return absl::InternalError(
          absl::StrCat("a worker process has ended by itself: ", worker.process->HowItEnded()));
    }
    return absl::OkStatus();
  }

  template <class Predicate>
  absl::Status WaitForSeats(const Predicate& predicate, absl::string_view what) {
    const uint64_t deadline_ns = clock_.NowNs() + kPatienceNs;
    for (size_t seat = 0; seat < workers_seats();) {
      if (predicate(seat)) {
        ++seat;
        continue;
      }
      absl::Status status = JudgeWorkers();
      if (!status.ok()) return status;
      if (clock_.NowNs() > deadline_ns) {
        return absl::DeadlineExceededError(absl::StrCat("thread ", seat, " of the workers has not ",
                                                        what, " within ",
                                                        kPatienceNs / 1'000'000'000, " s"));
      }
      Pause();
    }
    return absl::OkStatus();
  }

  absl::Status End() {
    board_->Start(kEndOfEpochs);
    for (size_t i = 0; i < workers_seats() && verdict_.first_error.empty(); ++i) {
      verdict_.first_error = board_->seat(i).first_error.Get();
    }
    const uint64_t deadline_ns = clock_.NowNs() + kPatienceNs;
    for (const Worker& worker : workers_) {
      while (!worker.process->HasEnded() && clock_.NowNs() < deadline_ns) Pause();
      if (!worker.process->HasEnded() || worker.process->exit_code() != 0) {
        worker.process->Kill();
        return absl::InternalError(absl::StrCat("a worker process did not end as it should: ",
                                                worker.process->HowItEnded()));
      }
    }
    verdict_.slowest_recovery_ns = board_->slowest_ns().Load(std::memory_order_relaxed);
    if (verdict_.history_path.empty()) verdict_.history_path = options_.history_path;
    if (!history_file_.is_open()) return absl::OkStatus();
    history_file_.close();
    if (!history_file_) {
      return absl::UnavailableError(absl::StrCat("cannot write ", options_.history_path));
    }
    return absl::OkStatus();
  }

  // ---- An epoch.

  absl::Status RunEpoch() {
    const auto epoch = static_cast<uint32_t>(++verdict_.epochs);
    const uint64_t begin_ns = clock_.NowNs();
    board_->Start(epoch);
    absl::Status status = Load(epoch, begin_ns);
    if (!status.ok()) return status;
    board_->Stop(epoch);
    const auto is_done = [this, epoch](size_t seat) { return IsDone(seat, epoch); };
    status = WaitForSeats(is_done, "ended what it had under way");
    if (!status.ok()) return status;
    verdict_.load_ns += clock_.NowNs() - begin_ns;
    // Keys of a killed process are waited for by now, or told.
    const uint64_t deadline_ns = clock_.NowNs() + kPatienceNs;
    while (janitor_ != nullptr && clock_.NowNs() < deadline_ns) {
      status = LookAtJanitor();
      if (!status.ok()) return status;
      Pause();
    }
    status = StartJanitor([this](const JanitorOptions& janitor_options) {
      return EndEpoch(janitor_options, board_.get());
    });
    if (!status.ok()) return status;
    while (janitor_ != nullptr && clock_.NowNs() < deadline_ns) {
      status = LookAtJanitor();
      if (!status.ok()) return status;
      Pause();
    }
    if (janitor_ != nullptr) return absl::DeadlineExceededError("an epoch's end takes too long");
    return Judge(epoch);
  }

  bool IsDone(size_t seat, uint32_t epoch) {
    return board_->seat(seat).done_epoch.Load(std::memory_order_acquire) == epoch;
  }

  // Till the epoch's time is over, or all threads have ended it by themselves.
  absl::Status Load(uint32_t epoch, uint64_t begin_ns) {
    const double left_ns = options_.seconds * 1e9 - static_cast<double>(verdict_.load_ns);
    const auto end_ns =
        begin_ns + static_cast<uint64_t>(std::min(options_.epoch_seconds * 1e9, left_ns));
    uint64_t kill_ns = NextKillNs(begin_ns);
    while (clock_.NowNs() < end_ns && !IsInterrupted() && verdict_.passes) {
      bool are_done = true;
      for (size_t i = 0; i < workers_seats(); ++i) are_done &= IsDone(i, epoch);
      if (are_done) break;
      absl::Status status = JudgeWorkers();
      if (status.ok()) status = LookAtJanitor();
      if (status.ok() && options_.kills && janitor_ == nullptr && clock_.NowNs() >= kill_ns) {
        status = KillOne();
        kill_ns = NextKillNs(clock_.NowNs());
      }
      if (!status.ok()) return status;
      Pause();
    }
    return absl::OkStatus();
  }

  uint64_t NextKillNs(uint64_t now_ns) {
    return now_ns +
           static_cast<uint64_t>(options_.kill_every_seconds * 1e9 * 2 * random_.NextDouble());
  }

  // ---- Kills.

  absl::Status KillOne() {
    Worker& worker = workers_[random_.Uniform(workers_.size())];
    worker.process->Kill();
    const uint64_t killed_ns = clock_.NowNs();
    ++verdict_.kills;
    std::vector<KeyId> keys;
    for (size_t i = 0; i < options_.threads; ++i) {
      const auto under_way = KeysUnderWay(board_->Journal(worker.first_seat + i));
      if (!under_way.ok()) return under_way.status();
      keys.insert(keys.end(), under_way->begin(), under_way->end());
    }
    absl::Status status = StartWorker(&worker);
    if (!status.ok()) return status;
    return StartJanitor([this, keys, killed_ns](const JanitorOptions& janitor_options) {
      return ProbeKeys(janitor_options, keys, killed_ns, board_.get());
    });
  }

  absl::Status StartJanitor(const std::function<int(const JanitorOptions&)>& work) {
    const JanitorOptions janitor_options = {
        .client = options_.client,
        .plan = options_.plan,
        .epoch = {.prefix = options_.prefix, .number = static_cast<uint32_t>(verdict_.epochs)},
        .seat = janitor_seat(),
        .recovery_ms = options_.recovery_ms,
        .deletes = !options_.keeps_keys};
    auto process = ChildProcess::Fork([&work, &janitor_options] { return work(janitor_options); });
    if (!process.ok()) return process.status();
    janitor_ = *std::move(process);
    return absl::OkStatus();
  }

  // Takes its result if it has ended.
  absl::Status LookAtJanitor() {
    if (janitor_ == nullptr || !janitor_->HasEnded()) return absl::OkStatus();
    const std::unique_ptr<ChildProcess> ended = std::move(janitor_);
    // What is wrong already goes on being wrong.
    if (ended->exit_code() == kJanitorDone || !verdict_.passes) return absl::OkStatus();
    const std::string failure = board_->seat(janitor_seat()).failure.Get();
    if (ended->exit_code() == kJanitorFoundLock) {
      verdict_.passes = false;
      verdict_.violation = absl::StrCat("a lock was left: ", failure, "\n");
      return absl::OkStatus();
    }
    if (!failure.empty()) return absl::UnavailableError(failure);
    return absl::InternalError(
        absl::StrCat("the process that looks after keys has ended: ", ended->HowItEnded()));
  }

  // ---- The verdict.

  absl::Status Judge(uint32_t epoch) {
    const uint64_t begin_ns = clock_.NowNs();
    HistoryBuilder builder({.prefix = options_.prefix, .number = epoch});
    for (size_t i = 0; i < board_->seats(); ++i) {
      absl::Status status = builder.Add(board_->Journal(i));
      if (!status.ok()) return status;
    }
    const History history = builder.Take(next_place_);
    next_place_ += 2 * history.transactions.size();
    const absl::StatusOr<Report> report = isolation::Check(history);
    if (!report.ok()) return report.status();
    verdict_.counts.Add(builder.counts());
    const uint64_t took_ns = clock_.NowNs() - begin_ns;
    verdict_.judging_ns += took_ns;
    if (history_file_.is_open()) history_file_ << isolation::ToText(history);
    if (options_.tell) {
      options_.tell(
          absl::StrFormat("epoch %d: %d transactions on %d keys, judged in %.1f s; %d kills so far",
                          epoch, builder.counts().transactions, history.keys.size(),
                          static_cast<double>(took_ns) * 1e-9, verdict_.kills));
    }
    if (!report->Keeps(options_.level)) TellViolation(*report);
    if (verdict_.passes) return absl::OkStatus();
    return SaveViolation(history, *report);
  }

  // The worst in full, the others by name.
  void TellViolation(const Report& report) {
    verdict_.passes = false;
    for (const isolation::Finding& finding : report.findings) {
      verdict_.findings.push_back(isolation::NameOf(finding));
    }
    Report worst = report;
    worst.findings.resize(1);
    absl::StrAppend(&verdict_.violation, isolation::ToText(worst));
  }

  absl::Status SaveViolation(const History& history, const Report& report) {
    verdict_.history_path = options_.history_path;
    if (options_.history_path.empty()) {
      absl::Status status = isolation::SaveHistory(history, options_.violation_path);
      if (!status.ok()) return status;
      verdict_.history_path = options_.violation_path;
    }
    if (report.findings.empty()) return absl::OkStatus();
    verdict_.excerpt_path = absl::StrCat(verdict_.history_path, ".excerpt");
    return isolation::SaveHistory(Excerpt(history, report.findings.front().transactions),
                                  verdict_.excerpt_path);
  }

  const CampaignOptions& options_;
  RealClock clock_;
  Random random_;
  std::unique_ptr<Board> board_;  // Before the processes: they are gone when it is unmapped.
  std::vector<Worker> workers_;
  std::unique_ptr<ChildProcess> janitor_;  // That runs, or null.
  std::ofstream history_file_;
  uint64_t next_place_ = 0;  // Of the history's next event.
  Verdict verdict_;
};

}  // namespace

absl::StatusOr<Verdict> RunCampaign(const CampaignOptions& options) {
  return Campaign(options).Run();
}

}  // namespace acre::verify
