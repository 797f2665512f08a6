// A cluster of homes in one thread under virtual time, each with a table, a TransactionHome and a TransactionEnds; and
// coordinators that stop anywhere. What travels between them takes any time, is lost, comes twice; connections break at
// one home and not at the other; homes crash and come back empty. All of it out of a seed.
//
// What the server does around TransactionEnds is played here: rings, closing a thread, answering the other homes.
//
// Judged all the while: no transaction is committed at one home and aborted at another; a COMMIT that a home has taken
// is applied; what was told to a coordinator's caller is what happened.

#ifndef ACRE_TESTS_TRANSACTIONS_ENDS_SCENE_H_
#define ACRE_TESTS_TRANSACTIONS_ENDS_SCENE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/optional.h"
#include "kvs/table_test_util.h"
#include "kvs/transaction_holders.h"
#include "kvs/transaction_home.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "server/transaction_ends.h"

namespace acre::server {

// What a scene does wrong, for tests of the judge.
struct EndsMistakes {
  bool unreachable_promises =
      false;                      // A home that cannot be asked counts as one that has promised.
  bool unknown_promises = false;  // "Unknown" likewise.
  bool any_incarnation = false;   // Whoever runs there now is asked.
  bool first_promise_aborts = false;  // One promise decides.
  bool promises_undrained = false;    // The asked home does not apply what was placed before.
  bool promises_unclosed = false;     // Nor does it close the thread.
  bool closed_is_forgotten = false;   // A thread that a home has let go of may come again.
};

class EndsScene {
 public:
  struct Options {
    uint64_t seed = 0;
    bool homes_crash = false;
    EndsMistakes mistakes = {};
  };
  explicit EndsScene(const Options& options);
  ~EndsScene();

  // Coordinators begin, and sooner or later they all stop.
  void RunCoordinators();
  // From now on nothing is lost, all homes are up, and every home has noticed that the coordinators are gone.
  void Heal();
  void RunForMs(uint64_t ms);
  // An operator aborts what is open, each at one home that has it open.
  void EndByOperator();

  size_t OpenCount() const;
  // Of OpenCount(): those that name a home that was started anew.
  size_t OpenForGoneHomes() const;
  // Of what is open, why, as operators are told.
  std::vector<std::string> WhysOfOpen() const;
  // Nothing is open: all homes agree, locks are free, records are as the outcomes say, nothing is kept.
  void JudgeEnd();

  // "": all was right. Else the first thing that was not.
  const std::string& finding() const { return finding_; }
  struct Tally {
    uint64_t committed = 0;  // Transactions, by whomever.
    uint64_t aborted = 0;
    uint64_t ended = 0;  // By TransactionEnds, at any home.
    uint64_t asks = 0;
    uint64_t crashes = 0;
  };
  Tally tally() const;

 private:
  using Id = kvs::TransactionId;
  using Thread = kvs::TransactionThread;
  using Participant = kvs::TransactionParticipant;
  class Home;
  class Links;
  struct Coordinator;

  struct Message {
    enum class Kind { kLock, kCommit, kAbort };
    Kind kind = Kind::kLock;
    Id id;
    uint64_t finished_below = 0;
    std::vector<Participant> participants;
    std::vector<std::string> keys;
  };
  // What became of a transaction.
  struct Fate {
    std::vector<Participant> participants;
    std::set<size_t> committed_at;  // Homes; also those that are gone.
    std::set<size_t> aborted_at;
    absl::optional<bool> told;  // To the coordinator's caller: committed or not.
    bool by_operator = false;
  };

  bool Chance(double probability) { return random_.NextDouble() < probability; }
  uint64_t SomeNs();
  void Find(std::string what);
  Task<void> Coordinate(Coordinator* coordinator);
  Task<void> RunTransaction(Coordinator* coordinator, Id id);
  // False: the connection is gone.
  bool Place(Coordinator* coordinator, size_t home, Message message);
  Task<void> PollLater(size_t home, uint64_t incarnation, Thread thread);
  Task<void> VoteLater(Id id, size_t home, bool yes);
  Task<void> LoseLater(size_t home, Thread thread);
  Task<void> StopLater(Coordinator* coordinator);
  Task<void> CrashLater();
  Task<void> RestartLater(size_t home);
  Task<void> Later(std::function<void()> what);
  void Crash(size_t home);
  void JudgeRecords(size_t home);

  const Options options_;
  Random random_;
  double loss_ = 0;
  double repeats_ = 0;
  bool is_healed_ = false;
  RealClock real_clock_;  // Of the memory.
  ManualClock clock_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<Home>> homes_;
  std::list<Coordinator> coordinators_;
  std::map<std::pair<uint32_t, uint64_t>, Fate> fates_;  // By process and sequence.
  uint64_t ended_before_ = 0;                            // By homes that are gone; likewise:
  uint64_t asks_before_ = 0;
  uint64_t crashes_ = 0;
  std::string finding_;
};

}  // namespace acre::server

#endif  // ACRE_TESTS_TRANSACTIONS_ENDS_SCENE_H_
