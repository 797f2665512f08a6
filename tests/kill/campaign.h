// Campaign: rounds of blows on a cluster, then many clients that come to one server and are killed; whether
// the histories are linearizable, and whether anything was left behind.
//
// Rounds are judged in batches, so that memory does not grow with their number: all clients stand still, the
// history is taken and judged, and a new server begins the next batch. At these moments each client that has
// lived since the beginning must hold what it held at the first of them, however many servers died under it.
// In the second part one server must hold in the end what it held after the first clients had come and gone.
// Then everything ends, and nothing may be left: no descriptor of this process, no process, no socket, no
// listening port, no shared memory, no file but the state files.
//
// Threads: one; the process has no others.

#ifndef ACRE_TESTS_KILL_CAMPAIGN_H_
#define ACRE_TESTS_KILL_CAMPAIGN_H_

#include <cstdint>
#include <string>

#include "tests/kill/cluster.h"

namespace acre::tests {

struct CampaignOptions {
  std::string program;         // Path of this program.
  std::string folder;          // For everything that the run makes: there, empty, and TEST_TMPDIR.
  std::string history_folder;  // Where a history that is not linearizable is kept.
  std::string run_mark;        // NAME=VALUE in the environment of all that are started.
  std::string huge_pages = "off";
  uint64_t seed = 1;
  int rounds = 0;
  int rounds_per_batch = 10;
  int churn_clients = 0;  // That come and are killed under one server.
  Plant plant = Plant::kNone;
};

// Prints on stdout how far it is, what it found, and the figures in the end. Whether it found nothing.
bool RunCampaign(const CampaignOptions& options);

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_CAMPAIGN_H_
