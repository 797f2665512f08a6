#include "lock/peer_test_mesh.h"

namespace acre {

Task<absl::StatusOr<std::string>> PeerMesh::FindEndpoint(Scheduler* scheduler, uint32_t of) {
  ++asked_count_;
  while (!tells_) co_await scheduler->Yield();
  const auto found = endpoints_.find(of);
  if (found == endpoints_.end()) co_return absl::NotFoundError("nobody has that number");
  co_return found->second;
}

Task<void> PeerMesh::Report(Scheduler* scheduler, uint32_t of) {
  ++reports_under_way_;
  while (!hears_) co_await scheduler->Yield();
  --reports_under_way_;
  reports_.push_back(of);
}

Task<void> PeerMesh::FindInto(PeerLinks* links, uint32_t of, absl::optional<FoundPeer>* found) {
  *found = co_await links->Find(of);
}

}  // namespace acre
