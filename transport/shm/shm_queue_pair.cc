// Making a connection, what its socket says, and how it breaks. Requests:
// shm_queue_pair_datapath.cc.

#include "transport/shm/shm_queue_pair.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/region_header.h"
#include "transport/shm/shm_region.h"

namespace acre::transport {
namespace {

// A peer that sends without end must not keep us: the socket stays readable, we come back.
constexpr size_t kPacketsPerLook = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<ShmQueuePair>> ShmQueuePair::Connect(
    ShmContext* context, ShmCompletionQueue* completion_queue, PacketSocket socket,
    absl::string_view private_data) {
  absl::StatusOr<SharedMemory> ring = MakeReceiveRing(context->device.receive_queue_depth);
  if (!ring.ok()) return ring.status();
  absl::Status sent =
      SendHello(*context, private_data, ring->fd.get(), completion_queue->wake_page_fd(), &socket);
  if (!sent.ok()) return sent;
  auto queue_pair = absl::WrapUnique(
      new ShmQueuePair(context, completion_queue, std::move(socket), std::move(ring->mapping)));
  absl::Status attached = completion_queue->Attach(queue_pair.get(), queue_pair->socket_.fd(),
                                                   queue_pair->completions_max());
  if (!attached.ok()) return attached;
  queue_pair->is_attached_ = true;
  return queue_pair;
}

absl::StatusOr<std::unique_ptr<ShmQueuePair>> ShmQueuePair::Accept(
    ShmContext* context, ShmCompletionQueue* completion_queue, PacketSocket socket, PeerSide peer,
    absl::string_view private_data) {
  absl::StatusOr<std::unique_ptr<ShmQueuePair>> made =
      Connect(context, completion_queue, std::move(socket), private_data);
  if (made.ok()) (*made)->BecomeReady(std::move(peer));
  return made;
}

ShmQueuePair::ShmQueuePair(ShmContext* context, ShmCompletionQueue* completion_queue,
                           PacketSocket socket, ScopedMapping receive_ring)
    : context_(context),
      completion_queue_(completion_queue),
      send_queue_depth_(context->device.send_queue_depth_max),
      own_ring_(std::move(receive_ring)),
      own_ring_mask_(context->device.receive_queue_depth - 1),
      socket_(std::move(socket)) {
  context_->live_objects.fetch_add(1, std::memory_order_relaxed);
}

ShmQueuePair::~ShmQueuePair() {
  if (!stalled_.empty()) completion_queue_->RemoveStalled();
  if (is_attached_) {
    if (socket_.is_open()) completion_queue_->Unwatch(socket_.fd());
    completion_queue_->Detach(this);
  }
  context_->live_objects.fetch_sub(1, std::memory_order_relaxed);
}

size_t ShmQueuePair::completions_max() const {
  // All requests, all receives when it breaks, kConnected, kDisconnected.
  return size_t{send_queue_depth_} + context_->device.receive_queue_depth + 2;
}

void ShmQueuePair::BecomeReady(PeerSide peer) {
  peer_ = std::move(peer);
  state_ = QueuePairState::kReady;
  is_receiving_ = true;
}

absl::StatusOr<RemoteKey> ShmQueuePair::Grant(const MemoryRegion& region, uint32_t rights) {
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  const auto* shm_region = dynamic_cast<const ShmRegion*>(&region);
  CHECK(shm_region != nullptr) << "a region of another provider";
  const absl::Status judged = JudgeGrant(region, shm_region->peer_rights(), rights);
  if (!judged.ok()) return judged;
  if (LetsWrite(shm_region->peer_rights())) {
    if (!LetsWrite(rights)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "region ", region.region_id(), " was made for peers that write (peer_rights): ",
          "the kernel cannot keep this one from writing"));
    }
    if (shm_region->is_on_huge_pages() && !IsTrustedUid(peer_.identity.uid)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "region ", region.region_id(), " lies on huge pages and the peer is another user's: ",
          "it could punch holes into it. Use HugePages::kOff"));
    }
  }
  for (size_t i = 0; i < grants_.size(); ++i) {
    if (grants_[i].region_id == region.region_id() && grants_[i].rights == rights) {
      return MakeKey(i, rights);
    }
  }
  if (grants_.size() == kGrantsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kGrantsMax, " grants to one peer"));
  }
  GrantPacket packet = {};
  packet.kind = PacketKind::kGrant;
  packet.rights = rights;
  packet.key_bits = MakeKey(grants_.size(), rights).bits;
  packet.region_id = region.region_id();
  packet.size_bytes = region.size_bytes();
  packet.generation = shm_region->generation();
  SendOrQueue({reinterpret_cast<const char*>(&packet), sizeof(packet)}, shm_region->fd());
  ReportIfBroken();
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  grants_.push_back({.region_id = region.region_id(), .rights = rights});
  return RemoteKey{packet.key_bits};
}

absl::StatusOr<MappedRegion> ShmQueuePair::Map(RemoteKey key) {
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  const Import* import = FindImport(key);
  ReportIfBroken();
  if (state_ != QueuePairState::kReady) return ErrorNotReady(state_, status_);
  if (import == nullptr)
    return absl::NotFoundError("the peer never granted this key on this connection");
  MappedRegion mapped;
  mapped.words = import->words;
  if ((import->rights & kRightWrite) != 0) mapped.writable_words = import->words;
  mapped.size_bytes = import->size_bytes;
  mapped.generation = import->generation;
  return mapped;
}

void ShmQueuePair::OnSocket() {
  FlushUnsent();
  DrainSocket(kPacketsPerLook);
  ReportIfBroken();
}

void ShmQueuePair::DrainSocket(size_t packets_max) {
  Packet packet;
  for (size_t i = 0; i < packets_max && state_ != QueuePairState::kBroken; ++i) {
    switch (socket_.Receive(&packet)) {
      case ReceiveResult::kNothing:
        return;
      case ReceiveResult::kGone:
        return Break(
            absl::UnavailableError(state_ == QueuePairState::kConnecting
                                       ? std::string("the peer rejected the connection")
                                       : absl::StrCat("the peer (process ", peer_.identity.pid,
                                                      ") closed the connection or died")));
      case ReceiveResult::kBad:
        return Break(
            absl::UnavailableError("a packet of the peer is malformed, or its descriptors did not "
                                   "fit in here (ulimit -n)"));
      case ReceiveResult::kPacket:
        break;
    }
    if (absl::Status judged = OnPacket(packet); !judged.ok()) {
      return Break(absl::UnavailableError(absl::StrCat("dropped the peer: ", judged.message())));
    }
  }
}

absl::Status ShmQueuePair::OnPacket(const Packet& packet) {
  if (state_ == QueuePairState::kConnecting) {
    absl::StatusOr<PeerSide> peer = JudgeHello(packet, socket_.peer());
    if (!peer.ok()) return peer.status();
    BecomeReady(*std::move(peer));
    completion_queue_->Push({.kind = CompletionKind::kConnected, .queue_pair = this}, 0);
    return absl::OkStatus();
  }
  switch (packet.kind()) {
    case PacketKind::kGrant:
      return OnGrant(packet);
    case PacketKind::kWake:
      if (packet.fds_count != 0) return absl::InvalidArgumentError("a wake-up with descriptors");
      completion_queue_->OnWakeTaken();
      return absl::OkStatus();
    case PacketKind::kHello:
      return absl::InvalidArgumentError("a second hello");
  }
  return absl::InvalidArgumentError("a packet of unknown kind");
}

absl::Status ShmQueuePair::OnGrant(const Packet& packet) {
  GrantPacket grant;
  if (!packet.CopyTo(&grant)) return absl::InvalidArgumentError("a grant of a wrong length");
  if (const auto why = WhyInvalid(grant)) return absl::InvalidArgumentError(*why);
  if (packet.fds_count != 1) return absl::InvalidArgumentError("a grant without its descriptor");
  if (imports_.size() == kGrantsMax) return absl::InvalidArgumentError("too many grants");
  const RemoteKey key = MakeKey(imports_.size(), grant.rights);
  if (grant.key_bits != key.bits) return absl::InvalidArgumentError("a grant out of turn");
  absl::StatusOr<ScopedMapping> mapping = MapPeerMemory(
      packet.fds[0].get(), grant.size_bytes,
      LetsWrite(grant.rights) ? PeerAccess::kReadWrite : PeerAccess::kReadOnly, peer_.identity.uid);
  if (!mapping.ok()) return mapping.status();
  // The owner wrote these before it granted the region; magic last. It may lie: judge, then believe
  // our own numbers only.
  const auto* header = reinterpret_cast<const RegionHeader*>(mapping->words());
  if (header->magic.Load(std::memory_order_acquire) != kRegionMagic ||
      header->region_id.Load(std::memory_order_relaxed) != grant.region_id ||
      header->size_bytes.Load(std::memory_order_relaxed) != grant.size_bytes ||
      header->generation.Load(std::memory_order_relaxed) != grant.generation) {
    return absl::InvalidArgumentError("the header of a granted region is not as the grant says");
  }
  imports_.push_back({.key = key,
                      .rights = grant.rights,
                      .words = mapping->words(),
                      .size_bytes = grant.size_bytes,
                      .generation = grant.generation,
                      .lease = RegionLease(header, grant.generation, context_->clock),
                      .mapping = *std::move(mapping)});
  return absl::OkStatus();
}

void ShmQueuePair::SendOrQueue(absl::Span<const char> bytes, int fd) {
  if (unsent_.empty()) {
    const absl::Span<const int> fds(&fd, fd >= 0 ? 1 : 0);
    switch (socket_.Send(bytes, fds)) {
      case SendResult::kSent:
        return;
      case SendResult::kGone:
        return Break(absl::UnavailableError("the peer closed the connection or died"));
      case SendResult::kFull:
        completion_queue_->Watch(this, socket_.fd(), /*also_writable=*/true);
        break;
    }
  }
  Unsent unsent;
  unsent.bytes.assign(bytes.data(), bytes.size());
  if (fd >= 0) {
    // The region may be gone before the socket has room.
    unsent.fd = ScopedFd(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!unsent.fd.is_open())
      return Break(absl::UnavailableError("too many open files (ulimit -n)"));
  }
  unsent_.push_back(std::move(unsent));
}

void ShmQueuePair::FlushUnsent() {
  if (unsent_.empty()) return;
  while (!unsent_.empty()) {
    const Unsent& unsent = unsent_.front();
    const int fd = unsent.fd.get();
    const SendResult result =
        socket_.Send(unsent.bytes, absl::Span<const int>(&fd, fd >= 0 ? 1 : 0));
    if (result == SendResult::kFull) return;
    if (result == SendResult::kGone) {
      return Break(absl::UnavailableError("the peer closed the connection or died"));
    }
    unsent_.pop_front();
  }
  completion_queue_->Watch(this, socket_.fd(), /*also_writable=*/false);
}

void ShmQueuePair::WakePeerIfArmed() {
  if (!wake_sender_.MustWake(peer_wake_page(), completion_queue_->stores())) return;
  const WakePacket packet = {.kind = PacketKind::kWake, .reserved0 = 0};
  SendOrQueue({reinterpret_cast<const char*>(&packet), sizeof(packet)}, -1);
}

void ShmQueuePair::Break(absl::Status why) {
  if (state_ == QueuePairState::kBroken) return;
  state_ = QueuePairState::kBroken;
  is_break_unreported_ = true;
  status_ = std::move(why);
}

void ShmQueuePair::ReportIfBroken() {
  if (!is_break_unreported_) [[likely]]
    return;
  is_break_unreported_ = false;
  completion_queue_->Unwatch(socket_.fd());
  socket_.Close();
  unsent_.clear();
  // What the peer wrote before it went is delivered, as a card would have done.
  if (is_receiving_) {
    std::vector<Completion> last(context_->device.receive_queue_depth);
    last.resize(TakeReceives(absl::MakeSpan(last)));
    for (const Completion& completion : last) completion_queue_->Push(completion, 0);
    is_receiving_ = false;
  }
  if (!stalled_.empty()) completion_queue_->RemoveStalled();
  for (const Stalled& stalled : stalled_) Fail(stalled.request, CompletionStatus::kFlushed);
  stalled_.clear();
  completion_queue_->Push({.kind = CompletionKind::kDisconnected, .queue_pair = this}, 0);
}

}  // namespace acre::transport
