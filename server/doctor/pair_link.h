// PairLink: one connection between two kv_doctors on one fabric, either side of it. It lends the peer an
// area to WRITE and READ, and tries out what the peer lends.
//
// Threads:    the port's.
// Ownership:  owns the link and its regions; borrows fabric, port and clock.
// Invariants: the area that the peer writes is never read here: who wrote reads it back and compares.

#ifndef ACRE_SERVER_DOCTOR_PAIR_LINK_H_
#define ACRE_SERVER_DOCTOR_PAIR_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "server/doctor/pair_wire.h"
#include "transport/bootstrap_peer.h"
#include "transport/completion_sink.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/rpc.h"

namespace acre::doctor {

struct PairLinkContext {
  Scheduler* scheduler = nullptr;
  transport::Fabric* fabric = nullptr;
  transport::Port* port = nullptr;
  Introduction introduction = {};  // What we say of ourselves.
  // Unique in the process.
  std::function<uint32_t()> next_region_id = nullptr;
};

class PairLink : public transport::RpcHandler, public transport::CompletionSink, public Poller {
 public:
  // Errors: those of Fabric::CreateRegion.
  static absl::StatusOr<std::unique_ptr<PairLink>> Create(PairLinkContext context,
                                                          transport::Link link);
  ~PairLink() override;
  PairLink(const PairLink&) = delete;
  PairLink& operator=(const PairLink&) = delete;

  // Asks the peer who it is.
  // Errors of these three: Unavailable - the connection broke, and why; InvalidArgument - the peer's bytes make
  // no sense; DeadlineExceeded; DataLoss - what was read back is not what was written.
  Task<absl::StatusOr<Introduction>> Introduce(uint64_t deadline_ns);
  // Borrows the peer's area, WRITEs it full, READs it back, compares; and measures.
  Task<absl::StatusOr<TrialWire>> Try(uint64_t deadline_ns);
  // Has the peer do that with ours.
  Task<absl::StatusOr<TrialWire>> BeTried(uint64_t deadline_ns);

  bool IsBroken() const;
  // Why, for people, with what the fabric says of it.
  absl::Status WhyBroken() const;

  Task<absl::Status> Handle(transport::RpcContext* context) override;
  void OnCompletion(const transport::Completion& completion) override;
  bool Poll() override;

 private:
  using Region = std::unique_ptr<transport::MemoryRegion>;

  PairLink(PairLinkContext context, transport::Link link, Region lent, Region own);

  // The same area, however often the peer asks.
  absl::StatusOr<AreaWire> Lend();
  Task<absl::StatusOr<TrialWire>> TryArea(AreaWire area, uint64_t deadline_ns);
  Task<absl::Status> Call(PairMethod method, std::string request, std::string* response,
                          uint64_t deadline_ns);
  Task<absl::Status> Run(absl::Span<transport::WorkRequest> batch, uint64_t deadline_ns);
  Task<absl::StatusOr<uint64_t>> MeasureRoundTrip(AreaWire area, uint64_t deadline_ns);
  Task<absl::Status> Move(transport::Opcode opcode, AreaWire area, uint64_t deadline_ns);
  // What a failed request is told as.
  absl::Status Explain(absl::string_view what, const absl::Status& status) const;

  const PairLinkContext context_;
  const Region lent_;  // The peer WRITEs and READs it.
  const Region own_;   // Local buffers: what to send, and behind that what came back.
  absl::optional<transport::RemoteKey> lent_key_;
  bool is_trying_ = false;
  transport::Link link_;
  transport::RpcPeer rpc_;  // Last: its handlers go before what they use.
};

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_PAIR_LINK_H_
