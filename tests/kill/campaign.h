// Campaign: rounds of blows on clusters, then many clients that come to one cluster and are killed; whether
// the histories are linearizable, and whether anything was left behind.
//
// Rounds are grouped in lives (tests/kill/life.h), so that there are servers and clients of every kind, and memory
// does not grow with the number of rounds. A life begins with servers and clients that stand still once all of
// them were at work; it ends when they stand still again and the history is judged. Each client that has
// lived through it must then hold what it held in the beginning, however many servers died under it. In the
// second part each server must hold in the end what it held after the first clients had come and gone.
// The memory of each server that clients may write is judged at the end of each round, while all stand still.
// Then everything ends, and nothing may be left: no descriptor of this process, no process, no socket, no
// listening port, no shared memory, no file but the state files.
//
// Threads: one; the process has no others.

#ifndef ACRE_TESTS_KILL_CAMPAIGN_H_
#define ACRE_TESTS_KILL_CAMPAIGN_H_

#include <cstdint>
#include <string>

#include "absl/types/optional.h"
#include "tests/kill/cluster.h"
#include "tests/kill/life.h"

namespace acre::tests {

struct CampaignOptions {
  std::string program;         // Path of this program.
  std::string folder;          // For everything that the run makes: there, empty, and TEST_TMPDIR.
  std::string history_folder;  // Where a history that is not linearizable is kept.
  std::string run_mark;        // NAME=VALUE in the environment of all that are started.
  std::string huge_pages = "off";
  uint64_t seed = 1;
  int rounds = 0;
  int rounds_per_life = 10;
  size_t servers = 0;           // In each life; 0: drawn.
  absl::optional<Trust> trust;  // Likewise; nullopt: drawn.
  int churn_clients = 0;        // That come and are killed under the same servers.
  Plant plant = Plant::kNone;
};

// Prints on stdout how far it is, what it found, and the figures in the end. Whether it found nothing.
bool RunCampaign(const CampaignOptions& options);

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_CAMPAIGN_H_
