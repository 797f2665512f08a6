// Making and ending a connection, grants, maps. Requests: sim_queue_pair_datapath.cc (cards),
// sim_queue_pair_copies.cc (shared memory).

#include "transport/sim/sim_queue_pair.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "runtime/sim/world.h"
#include "transport/provider_rules.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_region.h"

namespace acre::transport {
namespace {

SimCompletionQueue* QueueOf(CompletionQueue* completion_queue) {
  auto* const queue = dynamic_cast<SimCompletionQueue*>(completion_queue);
  CHECK(queue != nullptr) << "a completion queue of another provider";
  return queue;
}

}  // namespace

absl::StatusOr<std::unique_ptr<QueuePair>> SimQueuePair::Connect(SimContext* context,
                                                                 CompletionQueue* completion_queue,
                                                                 uint64_t listener,
                                                                 absl::string_view private_data) {
  auto made = absl::WrapUnique(new SimQueuePair(context, QueueOf(completion_queue)));
  made->side_->StartConnecting(listener, std::string(private_data));
  return made;
}

absl::StatusOr<std::unique_ptr<QueuePair>> SimQueuePair::Accept(SimContext* context,
                                                                CompletionQueue* completion_queue,
                                                                SimSide* client,
                                                                absl::string_view private_data) {
  auto made = absl::WrapUnique(new SimQueuePair(context, QueueOf(completion_queue)));
  made->side_->Accept(client, std::string(private_data));
  made->state_ = QueuePairState::kReady;
  return made;
}

SimQueuePair::SimQueuePair(SimContext* context, SimCompletionQueue* completion_queue)
    : context_(context),
      network_(context->network),
      completion_queue_(completion_queue),
      side_(context->network->MakeSide(context)) {
  side_->Attach(this, completion_queue);
  completion_queue->Attach(this);
  ++context_->live_objects;
}

SimQueuePair::~SimQueuePair() {
  network_->Spend(kSetupNs);
  completion_queue_->Detach(this);
  side_->Close();
  for (const Import& import : imports_) {
    import.memory->RemoveMapping();
    network_->ReleaseMemory(import.memory);
  }
  --context_->live_objects;
}

absl::StatusOr<RemoteKey> SimQueuePair::Grant(const MemoryRegion& region, uint32_t rights) {
  network_->Spend(kSetupNs);
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  const auto* const sim_region = dynamic_cast<const SimRegion*>(&region);
  CHECK(sim_region != nullptr) << "a region of another provider";
  const uint32_t peer_rights = sim_region->memory()->peer_rights();
  const absl::Status judged = JudgeGrant(region, peer_rights, rights);
  if (!judged.ok()) return judged;
  if (context_->kind == SimDevice::kSharedMemory && LetsWrite(peer_rights) && !LetsWrite(rights)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "region ", region.region_id(),
        " was made for peers that write: ", "no kernel could keep this one from writing"));
  }
  return side_->Grant(sim_region->memory(), rights);
}

absl::StatusOr<MappedRegion> SimQueuePair::Map(RemoteKey key) {
  network_->Spend(kSetupNs);
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  if (!context_->device.can_map || side_->peer()->machine() != side_->machine()) {
    return absl::FailedPreconditionError("memory of this peer cannot be mapped");
  }
  const Import* const import = FindImport(key);
  if (import == nullptr) {
    return absl::NotFoundError("the peer never granted this key on this connection");
  }
  MappedRegion mapped;
  mapped.words = import->memory->words();
  if ((import->rights & kRightWrite) != 0) mapped.writable_words = import->memory->words();
  mapped.size_bytes = import->memory->size_bytes();
  mapped.generation = import->memory->generation();
  return mapped;
}

SimQueuePair::Import* SimQueuePair::FindImport(RemoteKey key) {
  for (Import& import : imports_) {
    if (import.key == key) return &import;
  }
  const SimSide::GrantMade* const grant = side_->peer()->FindGrant(key);
  if (grant == nullptr || !grant->memory->is_open()) return nullptr;
  SimMemory* const memory = grant->memory;
  memory->AddMapping();
  const auto* const header = reinterpret_cast<const RegionHeader*>(memory->words());
  imports_.push_back({.key = key,
                      .rights = grant->rights,
                      .memory = memory,
                      .lease = RegionLease(header, memory->generation(), context_->clock)});
  return &imports_.back();
}

int SimQueuePair::peer_pid() const {
  if (context_->kind != SimDevice::kSharedMemory || side_->peer() == nullptr) return 0;
  return static_cast<int>(side_->peer()->context()->process->id());
}

void SimQueuePair::OnPolled(const Completion& completion, uint32_t slots) {
  outstanding_ -= slots;
  switch (completion.kind) {
    case CompletionKind::kConnected:
      state_ = QueuePairState::kReady;
      return;
    case CompletionKind::kReceive:
      if (context_->kind == SimDevice::kCard) side_->OnReceivePolled();
      return;
    case CompletionKind::kSend:
      if (completion.status == CompletionStatus::kOk) return;
      break;
    case CompletionKind::kDisconnected:
      break;
  }
  if (state_ == QueuePairState::kBroken) return;
  state_ = QueuePairState::kBroken;
  status_ = absl::UnavailableError(side_->why());
}

void SimQueuePair::LoadLocal(const WorkRequest& request) {
  words_.resize(request.length_bytes / kWordBytes);
  // Our own words, which nobody else touches until the request completes: whatever this thread stored.
  for (size_t i = 0; i < words_.size(); ++i) {
    words_[i] = request.local[i].Load(std::memory_order_relaxed);
  }
}

}  // namespace acre::transport
