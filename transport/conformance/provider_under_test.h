// What a provider of the fabric brings along to be held to the contract of transport/fabric.h.
//
// Each provider is one file in this folder that makes its ProviderUnderTest; conformance_main.cc
// picks.

#ifndef ACRE_TRANSPORT_CONFORMANCE_PROVIDER_UNDER_TEST_H_
#define ACRE_TRANSPORT_CONFORMANCE_PROVIDER_UNDER_TEST_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/clock.h"
#include "transport/fabric.h"

namespace acre::transport {

// Threads: any.
class ProviderUnderTest {
 public:
  struct NodeOptions {
    // A node of another number than its peer has regions of another atomic domain (A3).
    uint64_t atomic_domain = 0;
  };

  virtual ~ProviderUnderTest() = default;

  virtual std::string name() const = 0;
  virtual Atomicity atomicity() const = 0;
  // Whether its queue pairs always ReadAtOnce() when they are ready and nothing stalls, or never.
  virtual bool reads_at_once() const { return false; }
  // Whether threads of a node share queue pairs: then each connection of a test has a neighbour on its own.
  virtual bool shares_queue_pairs() const { return false; }
  // A node of its own: nothing is shared with other Fabrics but the network.
  virtual std::unique_ptr<Fabric> MakeNode(const NodeOptions& options) = 0;
  // Whose NowNs() the regions' leases are measured with.
  virtual Clock* clock() = 0;
  // Lets the network get on. Every loop that waits calls it.
  virtual void Progress() = 0;
  // Runs the functions side by side, each on a thread of its own, till all have returned. A simulated
  // provider's threads are simulated ones: they take turns at accesses of SharedWords and in Progress(),
  // so what they wait for must be one of these.
  virtual void RunThreads(const std::vector<std::function<void()>>& functions) = 0;
  // How many rounds show as much as so many of free-running threads do.
  virtual uint64_t Rounds(uint64_t free_running) const { return free_running; }
  // The same of rounds that a CPU makes beside the fabric: how many last as long as it takes the fabric to
  // do something.
  virtual uint64_t CpuRounds(uint64_t free_running) const { return Rounds(free_running); }
  // Whether fd() of a completion queue or listener is readable, after waiting for it as long as it
  // may take (WaitReadable), or now.
  virtual bool WaitReadable(int fd) = 0;
  virtual bool IsReadable(int fd) = 0;
};

std::unique_ptr<ProviderUnderTest> MakeShmUnderTest(Atomicity atomicity);
std::unique_ptr<ProviderUnderTest> MakeTcpUnderTest(Atomicity atomicity);
// Its atomicity is the card's. Nodes take turns on all cards of this machine. `threads_per_qp`: as
// VerbsFabric::Options.
// NotFound: it has none that can be used; the message says more.
absl::StatusOr<std::unique_ptr<ProviderUnderTest>> MakeVerbsUnderTest(uint32_t threads_per_qp);

// The providers that this run is about. Set by main() before the tests are made.
std::vector<std::unique_ptr<ProviderUnderTest>>& ProvidersUnderTest();

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CONFORMANCE_PROVIDER_UNDER_TEST_H_
