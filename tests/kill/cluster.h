// Cluster: real servers and real client processes at work on them, that are killed and come back; and the
// history of all that.
//
// A server is a home of the history, by its place in the list. Each is struck and comes back on its own, while
// the others go on.
//
// Cuts. A server's death ends an incarnation, and the history says so with a cut of that home, between the last
// thing that the old one showed and the first that the new one does (tests/checkers/history.h):
//   - It showed nothing any more once it was waited for, with one exception. The kernel had marked its
//     memory by then, or it had closed it itself (docs/leases.md); what it had left in rings and sockets are
//     answers to what was asked before.
//   - The exception are readers under a lease, who believe its memory till the lease is over: that is at most
//     lease_ms after the last renewal, so after it was waited for.
//   - The next server is started after that, and if there was a lease it listens a lease after its own start.
//     Whether there was one it learns from the state file, and so does the cut: it is put at the time after
//     the wait, plus the lease that the file tells of, unless the file says that the server stopped cleanly.
//   - A server that is killed while it starts may have listened or not: it gets a cut of its own, no earlier
//     than the one before.
// Clients connect by themselves, so what spans a cut is `crossing`. What a killed client had under way
// returned, as far as the history goes, when the process was waited for: it has sent nothing after that.
//
// Killed by servers. A server that trusts its clients by shm kills one that stands still in the middle of a write, or
// whose connection breaks without farewell (server/lock_home.h). Of a client that was frozen since it last parked that is
// no finding: its journal ends like that of any killed one, and another one takes its place. Of all others it is one.
//
// Threads:   one. Errors are findings, Internal, with a text for people; after one the cluster is of no use.
// Ownership: owns all processes and kills them when it goes. Everything of theirs on disk lies in `folder`.

#ifndef ACRE_TESTS_KILL_CLUSTER_H_
#define ACRE_TESTS_KILL_CLUSTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/client.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "tests/checkers/history.h"
#include "tests/kill/level.h"
#include "tests/kill/life.h"
#include "tests/kill/plan.h"
#include "tests/process.h"

namespace acre::tests {

// Faults planted to see that they are found.
enum class Plant : uint8_t {
  kNone,
  kCutTooEarly,  // Before the blow.
  kCutTooLate,   // After the next server has worked.
  kNoCut,
  kCutElsewhere,      // Of another home than the one that died.
  kCutEverywhere,     // Of all homes, though one died.
  kStaleGets,         // A client tells old values.
  kClientLeaks,       // A client leaves a descriptor open now and then.
  kForgottenProcess,  // A client is left running.
  kLockLeft,          // In a server's memory, while all stand still: a lock that is taken,
  kSlotLeft,          // a slot that is half-written,
  kRecordBroken,      // a value that nobody has put.
};

struct ClusterOptions {
  std::string program;    // Path of this program: a client is one that runs in that role.
  std::string folder;     // Of the clients' journals, and the secret. There.
  std::string state_dir;  // Of the servers.
  std::string memory = "32M";
  std::string huge_pages = "off";
  uint64_t seed = 1;
  Life life;             // As many clients as it has.
  size_t immortals = 4;  // The first of them: these are never killed.
  Plant plant = Plant::kNone;
};

class Cluster {
 public:
  Cluster(ClusterOptions options, Clock* clock);
  // Kills what is left.
  ~Cluster();

  // The servers, and clients that work on them, if there shall be any yet.
  absl::Status StartServers();
  absl::Status StartClients();
  // The plan's blows at the plan's times. All servers run when it returns, and so do all clients.
  absl::Status Run(const Plan& plan);
  // Kills all clients, each at some moment of the next 40 ms.
  absl::Status KillClients();

  // Has every client show that it gets answers from every server, and stand still.
  absl::Status Park();
  void GoOn();
  // Judges the memory of a server (tests/kill/server_memory.h), and has the history say what was seen in it: a Get of
  // every key, by a client that is none. Requires: parked. Errors: findings, unless somebody's work has yet to end.
  absl::Status LookAtMemory(size_t place);
  // What options.plant says.
  absl::Status DamageMemory(size_t place);
  // All that was done since the last call. Requires: parked, or no clients.
  absl::StatusOr<checkers::History> TakeHistory();

  // Ends the clients, which are parked: that must go well. Then the servers, and what they needed on disk.
  absl::Status EndClients();
  absl::Status EndServers();

  size_t servers() const { return servers_.size(); }
  // By place. All there are from StartServers() on.
  const std::vector<std::string>& addresses() const { return addresses_; }
  Process& server_process(size_t place) { return servers_[place].server->process(); }
  // A client of this cluster; its path is the caller's.
  ClientOptions OptionsOfClients() const;
  // Of the client in this place, and which process of the run it is.
  Process& client_process(size_t place) { return *clients_[place].process; }
  std::string ClientName(size_t place) const;
  uint32_t client_number(size_t place) const { return clients_[place].number; }
  size_t immortals() const { return options_.immortals; }
  // Every socket that a process of this run was seen to have.
  const std::set<uint64_t>& sockets_seen() const { return sockets_seen_; }
  // How often what came to pass.
  const std::map<std::string, uint64_t>& counts() const { return counts_; }

 private:
  struct Home {
    std::unique_ptr<KvServer> server;
    uint64_t last_cut_ns = 0;
    uint64_t struck_at_ns = 0;  // In this round, first; 0: not yet.
    bool is_starting = false;   // Launched, and nobody has waited till it listens.
  };
  struct Child {
    uint32_t number = 0;  // Of the process: never used twice.
    std::string journal;
    std::unique_ptr<Process> process;
    int parks = 0;
    bool is_frozen = false;
    bool was_frozen = false;  // Since it parked last.
  };

  absl::Status StartClient(size_t place);
  absl::Status KillClient(size_t place);
  absl::Status FreezeClient(size_t place);
  // Whether the same lock acquisition stands in a server's memory for a while: likely that of who was frozen just now.
  bool DoesAnUpdateStandStill();
  // Reads what one that was killed has left. It was waited for at `dead_at_ns`.
  absl::Status TakeJournalOfDead(size_t place, uint64_t dead_at_ns);
  // A client has ended without us: another one takes its place if a server was allowed to kill it.
  absl::Status ReplaceKilledByServer(size_t place);
  absl::Status AwaitParked(size_t place);
  void NoteUpdates(size_t place, absl::string_view parked);
  absl::Status Strike(const Blow& blow, const Plan& plan);
  absl::Status KillServer(size_t place, const Plan& plan);
  absl::Status StopCleanly(size_t place);
  absl::Status LaunchServer(size_t place, const Plan::Server& plan);
  // Till all that were launched listen.
  absl::Status WaitForServers(const Plan& plan);
  absl::Status WaitTill(uint64_t at_ns);
  absl::Status WaitFor(int64_t us) {
    return WaitTill(clock_->NowNs() + static_cast<uint64_t>(us) * 1'000);
  }
  std::vector<std::string> ServerFlags(const Plan::Server& plan) const;
  void CutHome(size_t place);
  void AddCut(size_t place, uint64_t at_ns);
  // What the state file says of the server that has just ended: how long readers may still believe it.
  uint64_t LeaseLeftNs(size_t place) const;
  absl::StatusOr<std::vector<checkers::Operation>> ReadJournal(const Child& child, bool was_killed);
  void NoteSockets(const Process& process);

  const ClusterOptions options_;
  Clock* const clock_;
  Random random_;
  std::vector<std::string> addresses_;
  std::string cluster_file_;  // "": none.
  std::string secret_file_;   // "": no secret.
  std::vector<Home> servers_;
  std::vector<Child> clients_;
  uint32_t clients_started_ = 0;
  checkers::History history_;  // Of what has ended: dead clients, cuts.
  std::set<uint64_t> sockets_seen_;
  std::map<std::string, uint64_t> counts_;
  std::unique_ptr<Process> forgotten_;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_CLUSTER_H_
