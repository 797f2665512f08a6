// SimListener: where simulated peers connect.

#ifndef ACRE_TRANSPORT_SIM_SIM_LISTENER_H_
#define ACRE_TRANSPORT_SIM_SIM_LISTENER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "runtime/sim/descriptor.h"
#include "transport/fabric.h"
#include "transport/sim/sim_context.h"

namespace acre::transport {

class SimSide;

// Ownership:  borrows the context. Requests that it returned outlive it.
// Threads:    one at a time. Add() and Drop() from events.
class SimListener final : public Listener {
 public:
  explicit SimListener(SimContext* context);
  ~SimListener() override;

  std::string endpoint() const override;
  int fd() const override { return descriptor_.fd(); }
  std::unique_ptr<ConnectionRequest> Poll() override;

  // The listener that `endpoint` names, if it is one of a fabric of that kind.
  static absl::optional<uint64_t> NumberOf(absl::string_view endpoint, SimDevice kind);

  // --- For the network.

  SimContext* context() const { return context_; }
  void Add(SimSide* client, std::string private_data);
  // Its process is dead.
  void Drop(bool tells_clients);

 private:
  struct Waiting {
    SimSide* client;
    std::string private_data;
  };

  SimContext* const context_;
  const uint64_t number_;
  sim::Descriptor descriptor_;
  std::deque<Waiting> waiting_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_LISTENER_H_
