// Door: where clients find the server, and the byte streams of the handshake, as messages that take their
// time.
//
// It stands for what transport/bootstrap_*.h do with sockets: a client calls, is told an endpoint and a
// token, connects there on the fabric with the token, and both trade offers. A call to a machine on which
// nobody listens is refused; one that a partition keeps out is not answered.
//
// Threads:   the World's.
// Ownership: borrows the network. Calls belong to both ends.

#ifndef ACRE_TESTS_SIM_DOOR_H_
#define ACRE_TESTS_SIM_DOOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "runtime/sim/world.h"
#include "transport/bootstrap_wire.h"
#include "transport/channel.h"
#include "transport/sim/sim_network.h"

namespace acre::simulation {

struct Greeting {
  std::string endpoint;
  uint64_t generation = 0;
  uint64_t lease_ns = 0;
};

// One handshake. Each end looks at what has arrived there.
struct Call {
  uint64_t token = 0;
  uint32_t process_id = 0;  // The client's: never the same twice.
  sim::Machine* client = nullptr;
  sim::Machine* server = nullptr;
  // At the client.
  absl::optional<Greeting> greeting;
  absl::optional<transport::Setup> setup;
  bool is_refused = false;  // Or hung up.
  // At the server.
  absl::optional<transport::ChannelOffer> offer;
};

class Door {
 public:
  explicit Door(transport::SimNetwork* network) : network_(network) {}
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // --- The server.

  void Open(sim::Process* server, Greeting greeting);
  // Nobody listens any more. Hangs up on those whose handshake is under way, unless the machine is gone.
  void Close();
  // The call whose token a client shows; null: there is none, or it was taken.
  std::shared_ptr<Call> Take(uint64_t token);
  void SendSetup(std::shared_ptr<Call> call, transport::Setup setup);

  // --- Clients.

  // `claimed_id`: what it says to be, if that is not 0.
  std::shared_ptr<Call> Dial(sim::Process* client, sim::Machine* server, uint32_t claimed_id = 0);
  void SendOffer(std::shared_ptr<Call> call, const transport::ChannelOffer& offer);

 private:
  // Runs `land` once the message has got through.
  void Send(sim::Machine* from, sim::Machine* to, std::function<void()> land);
  void Deliver(sim::Machine* from, sim::Machine* to, std::function<void()> land);
  void Answer(const std::shared_ptr<Call>& call);

  transport::SimNetwork* const network_;
  sim::Process* server_ = nullptr;  // Null: closed.
  Greeting greeting_;
  std::map<uint64_t, std::shared_ptr<Call>> calls_;  // Greeted, not taken.
  std::vector<std::weak_ptr<Call>> taken_;
};

}  // namespace acre::simulation

#endif  // ACRE_TESTS_SIM_DOOR_H_
