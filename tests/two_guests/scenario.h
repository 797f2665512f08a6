// Scenario: what a client sees of a server on another machine, over RDMA cards: it loads, reads and writes;
// the server's machine vanishes and another takes its place; then that one's card loses its link.
//
// It runs on the client's machine. What happens to the other one is asked of the driver
// (two_guests_test.py), by lines of the output.
//
// Threads: one at a time.

#ifndef ACRE_TESTS_TWO_GUESTS_SCENARIO_H_
#define ACRE_TESTS_TWO_GUESTS_SCENARIO_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/client.h"
#include "runtime/clock.h"

namespace acre::tests {

class Scenario {
 public:
  struct Options {
    std::string server;       // HOST:PORT.
    std::string secret_file;  // That of the server.
    std::string
        death_mark;  // The driver makes this file just before it kills the server's machine.
    uint16_t switch_port =
        0;  // Whoever connects to it on the server's machine takes the link away.
  };

  explicit Scenario(Options options);

  // Runs all of it. Errors: Internal - the first thing that is not as it should be.
  absl::Status Run();

 private:
  // A call of the product: which, how it ended, and for a Get that was OK, what it brought.
  struct Call {
    std::string what;
    absl::Status status;
    std::string value;
  };

  ClientOptions OptionsFor(absl::string_view fabric) const;
  // Errors: also if it is on another fabric than verbs.
  absl::Status Connect(absl::string_view fabric, std::unique_ptr<Client>* client);

  // The steps, in their order.
  absl::Status Load();
  absl::Status ReadBack();
  absl::Status WriteAndRead();
  absl::Status LoseTheServer();
  absl::Status FindTheNewServer();
  absl::Status WakeTheSleeper();
  absl::Status LoseTheLink();

  // Runs one call. Errors: it took longer than its timeout, or failed as it must not.
  absl::Status Time(Call* call, const std::function<absl::Status()>& run);
  absl::Status Get(Client* client, int record, Call* call);
  absl::Status Put(Client* client, int record, int version, Call* call);
  // Gets of `record` by `client` till one fails; those before it bring the value of `version`.
  absl::Status GetTillOneFails(int record, int version);
  // Gets by a client that may have to connect anew, till one brings an answer of the server, which is
  // NotFound. Errors: also if one brings a value, however often others failed before it.
  absl::Status GetTillAbsent(Client* client, int record);

  const Options options_;
  RealClock clock_;
  std::unique_ptr<Client>
      sleeper_;  // Connected to the first server, and idle while that one is replaced.
  std::unique_ptr<Client> client_;
  std::string last_failure_;  // Of the call before, if it failed.
};

}  // namespace acre::tests

#endif  // ACRE_TESTS_TWO_GUESTS_SCENARIO_H_
