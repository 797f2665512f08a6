// Campaign: a run of kv_verify: worker processes, epochs one after the other, kills, and the
// verdict.
//
// An epoch: the workers run transactions on fresh keys, till its time is over or it has enough of
// them; a janitor reads all keys once more and deletes them; the journals become a history, and the
// checker judges it. Memory is that of one epoch, however long the run.
//
// Threads: the process that calls has no other, as it forks (child.h). It makes no client of its
// own.

#ifndef ACRE_CLIENT_VERIFY_CAMPAIGN_H_
#define ACRE_CLIENT_VERIFY_CAMPAIGN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/client.h"
#include "client/isolation/checker.h"
#include "client/verify/judge.h"
#include "client/verify/plan.h"

namespace acre::verify {

struct CampaignOptions {
  ClientOptions client;
  PlanOptions plan;
  std::string prefix;  // Of all keys, and nobody else's.
  uint32_t processes = 2;
  uint32_t threads = 1;      // Of each process.
  uint32_t outstanding = 8;  // Transactions under way, of each thread.
  double seconds = 10;       // Of load: judging comes on top.
  double epoch_seconds = 5;
  uint64_t epoch_transactions = 200'000;
  bool kills = false;
  double kill_every_seconds = 1;  // On average.
  int64_t recovery_ms = 10'000;   // JanitorOptions.
  bool keeps_keys = false;
  isolation::Level level = isolation::Level::kOpaque;  // What is promised.
  std::string history_path;                            // "": only a violation's epoch is saved,
  std::string violation_path;                          // here.
  uint64_t seed = 1;
  // The run is to end early; its verdict is on what was done.
  std::function<bool()> is_interrupted;
  // A line on how it goes.
  std::function<void(absl::string_view)> tell;
};

struct Verdict {
  bool passes = true;
  // If not: what is wrong, in words, and the names of the checker's findings, if it is that.
  std::string violation;
  std::vector<std::string> findings;
  // The files of the history, "": none, and of an excerpt for the violation.
  std::string history_path;
  std::string excerpt_path;

  std::string way;  // How reads travel: "mapped over shm".
  Counts counts;
  uint64_t epochs = 0;
  uint64_t load_ns = 0;
  uint64_t judging_ns = 0;
  uint64_t kills = 0;
  uint64_t slowest_recovery_ns = 0;  // From a kill till the last of its keys was read and written.
  std::string first_error;           // "": none but conflicts.
};

// Errors: those of Connect() and of the file system, if it could not run, or could not go on.
absl::StatusOr<Verdict> RunCampaign(const CampaignOptions& options);

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_CAMPAIGN_H_
