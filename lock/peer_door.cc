#include "lock/peer_door.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "transport/secret_bytes.h"

namespace acre {
namespace {

using transport::Completion;
using transport::CompletionKind;
using transport::CompletionStatus;
using transport::Opcode;
using transport::WorkRequest;

// The fd stays readable while there are more: a crowd at the door must not keep this thread from its answers.
constexpr int kRequestsPerPass = 16;

// Errors: Unavailable - the peer has gone.
absl::Status TellKey(transport::QueuePair* to, const transport::MemoryRegion& region) {
  const auto key = to->Grant(region, transport::kRightWrite);
  if (!key.ok()) return key.status();
  std::array<WorkRequest, kKeyPieces> pieces;
  for (uint32_t i = 0; i < kKeyPieces; ++i) {
    pieces[i].opcode = Opcode::kWriteWithImm;
    pieces[i].immediate = KeyPiece(*key, i);
    // Nobody waits for it, but a queue pair that has something under way is slow to close.
    pieces[i].signaled = i + 1 == kKeyPieces;
    pieces[i].id = transport::kSinkIdBit;
  }
  return to->Post(pieces);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PeerDoor>> PeerDoor::Create(const Options& options) {
  auto listener =
      options.host.empty() ? options.fabric->Listen() : options.fabric->ListenAt(options.host);
  if (!listener.ok()) return listener.status();
  auto door = absl::WrapUnique(new PeerDoor(options, *std::move(listener)));
  PeerDoor* const self = door.get();
  self->listener_->SetRefused([self](absl::string_view /*peer*/, const absl::Status& why) {
    self->Refuse(absl::IsResourceExhausted(why) ? PeerRefusal::kCrowd : PeerRefusal::kNonsense);
  });
  const absl::Status watched = options.port->scheduler()->WatchFd(
      self->listener_->fd(), EPOLLIN, [self](uint32_t) { self->OnListener(); });
  if (!watched.ok()) return watched;
  return door;
}

PeerDoor::PeerDoor(const Options& options, std::unique_ptr<transport::Listener> listener)
    : options_(options), listener_(std::move(listener)) {}

PeerDoor::~PeerDoor() {
  options_.port->scheduler()->UnwatchFd(listener_->fd());
  while (!participations_.empty()) Unserve(participations_.back()->descriptors->process_id());
}

absl::Status PeerDoor::Serve(RemoteDescriptors* descriptors, const PeerTicket& ticket) {
  if (Find(descriptors->process_id()) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("this process takes part in locks as number ",
                                                 descriptors->process_id(), " already"));
  }
  participations_.push_back(
      std::make_unique<Participation>(Participation{descriptors, ticket, {}, {}}));
  return absl::OkStatus();
}

void PeerDoor::Unserve(uint32_t lock_id) {
  Participation* const part = Find(lock_id);
  if (part == nullptr) return;
  CloseIf(part, [](const Connection&) { return true; });
  std::erase_if(participations_, [part](const auto& other) { return other.get() == part; });
}

void PeerDoor::CloseTo(uint32_t lock_id, absl::Span<const uint32_t> dead) {
  Participation* const part = Find(lock_id);
  if (part == nullptr) return;
  part->dead.insert(dead.begin(), dead.end());
  CloseIf(part, [part](const Connection& connection) {
    return part->dead.contains(connection.from_lock_id);
  });
}

size_t PeerDoor::connections_count(uint32_t lock_id) const {
  for (const auto& part : participations_) {
    if (part->descriptors->process_id() == lock_id) return part->connections.size();
  }
  return 0;
}

PeerDoor::Participation* PeerDoor::Find(uint32_t lock_id) {
  for (const auto& part : participations_) {
    if (part->descriptors->process_id() == lock_id) return part.get();
  }
  return nullptr;
}

template <class IsMeant>
void PeerDoor::CloseIf(Participation* of, const IsMeant& is_meant) {
  std::erase_if(of->connections, [&](const Connection& connection) {
    if (!is_meant(connection)) return false;
    options_.port->Forget(connection.queue_pair.get());
    return true;
  });
}

void PeerDoor::OnListener() {
  for (int i = 0; i < kRequestsPerPass; ++i) {
    const std::unique_ptr<transport::ConnectionRequest> request = listener_->Poll();
    if (request == nullptr) return;
    PeerHello hello;
    Participation* into = nullptr;
    if (const auto why = Judge(request->private_data(), &hello, &into)) {
      Refuse(*why);  // The request goes, and with it the connection.
      continue;
    }
    LetIn(request.get(), hello.from_lock_id, into);
  }
}

absl::optional<PeerRefusal> PeerDoor::Judge(absl::string_view private_data, PeerHello* hello,
                                            Participation** into) {
  if (ReadPeerHello(private_data, hello)) return PeerRefusal::kNonsense;
  Participation* const part = Find(hello->to_lock_id);
  if (part == nullptr) return PeerRefusal::kNotServed;
  if (!transport::AreEqualSecrets(part->ticket, hello->ticket)) return PeerRefusal::kTicket;
  if (part->dead.contains(hello->from_lock_id)) return PeerRefusal::kDead;
  if (part->connections.size() >= options_.connections_max) return PeerRefusal::kCrowd;
  *into = part;
  return absl::nullopt;
}

void PeerDoor::LetIn(transport::ConnectionRequest* request, uint32_t from_lock_id,
                     Participation* into) {
  auto accepted = request->Accept(options_.port->completion_queue(), "");
  if (!accepted.ok()) return;  // It has gone meanwhile.
  transport::QueuePair* const queue_pair = accepted->get();
  if (!TellKey(queue_pair, into->descriptors->region()).ok()) {
    options_.port->Forget(queue_pair);
    return;
  }
  options_.port->SetSink(queue_pair, this);
  into->connections.push_back({from_lock_id, *std::move(accepted)});
}

void PeerDoor::OnCompletion(const Completion& completion) {
  const bool is_told =
      completion.kind == CompletionKind::kSend && completion.status == CompletionStatus::kOk;
  if (is_told) return;
  // Peers have nothing to tell us by immediates. Everything else says that it is broken, or will be.
  if (completion.kind == CompletionKind::kReceive) Refuse(PeerRefusal::kNonsense);
  for (const auto& part : participations_) {
    CloseIf(part.get(), [&](const Connection& connection) {
      return connection.queue_pair.get() == completion.queue_pair;
    });
  }
}

}  // namespace acre
