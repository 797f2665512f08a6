// Work: what one client process does, step by step, and its journal. Both forms of the client drive it.
//
// Steps are Gets, Puts, Deletes and MultiGets of a few hot keys, so that clients meet on each. Values are
// written once, mostly short (in a slot), some out of line, some over 4 KiB, which travel by a READ of their
// own. Each step is in the journal before it is begun.
//
// Threads: one at a time.

#ifndef ACRE_TESTS_KILL_WORK_H_
#define ACRE_TESTS_KILL_WORK_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/clock.h"
#include "runtime/random.h"
#include "tests/checkers/history.h"
#include "tests/checkers/journal.h"

namespace acre::tests {

// The keys that all clients work on. Of as many homes as there are deleted keys, or fewer, each has one that is deleted
// and one that is not.
std::vector<std::string> HotKeys(uint32_t homes);
uint32_t HomeOf(absl::string_view key, uint32_t homes);

// Faults of a client, planted to see that they are found.
struct ClientPlant {
  bool stale_gets = false;  // Now and then a Get tells what an earlier one saw.
  bool leaks = false;       // An operation that fails leaves a descriptor open.
};

// One call of the client: what it is given, what it gave.
struct Step {
  checkers::OperationKind kind = checkers::OperationKind::kGet;
  std::vector<std::string> keys;       // Several: a MultiGet.
  std::vector<std::string> values;     // Of the Put, or for the Gets, one for each key.
  std::vector<absl::Status> statuses;  // One for each key.
  std::vector<checkers::Operation> operations;
  std::vector<uint64_t> numbers;  // In the journal.
};

class Work {
 public:
  // `homes`: servers there are. Each holds as many of the keys, to within one.
  Work(uint32_t client, uint32_t homes, uint64_t seed, ClientPlant plant, checkers::Journal journal,
       Clock* clock);

  // The next step, in the journal as begun.
  Step Begin();
  // Its statuses are there. Whether all of it was answered.
  bool End(Step step);

  Random& random() { return random_; }
  uint64_t operations() const { return operations_; }
  uint64_t answered() const { return answered_; }
  // From now on; and whether each home has given an answer since, to a Get and to a Put of what lies inline: that goes by
  // another way where clients write by themselves.
  void ForgetAnswers() {
    gets_answered_.clear();
    puts_answered_.clear();
  }
  bool HaveAllHomesAnswered() const {
    return gets_answered_.size() == homes_ && puts_answered_.size() == homes_;
  }
  // Of the operation that failed last, for people.
  const std::string& last_error() const { return last_error_; }
  // An error that client.h does not promise for a server that is away. Empty: none.
  const std::string& finding() const { return finding_; }

 private:
  void EndGet(const absl::Status& status, absl::string_view value, checkers::Operation* get);
  void EndChange(const absl::Status& status, checkers::Operation* change);
  // What a Get tells that was planted. nullptr: the truth.
  const std::string* Stale(const checkers::Operation& get);

  const uint32_t client_;
  const uint32_t homes_;
  const std::vector<std::string> keys_;
  const ClientPlant plant_;
  checkers::Journal journal_;
  Clock* const clock_;
  Random random_;
  uint64_t puts_ = 0;
  uint64_t operations_ = 0;
  uint64_t answered_ = 0;
  std::set<uint32_t> gets_answered_;  // The homes that did.
  std::set<uint32_t> puts_answered_;
  std::string finding_;
  std::string last_error_;
  // By key: what was seen last, and a different value before it.
  std::map<std::string, std::pair<std::string, std::string>> seen_;
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_WORK_H_
