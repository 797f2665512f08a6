// How two shm peers introduce themselves: what each makes for the other, and how it judges what it
// got.

#ifndef ACRE_TRANSPORT_SHM_SHM_HANDSHAKE_H_
#define ACRE_TRANSPORT_SHM_SHM_HANDSHAKE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "transport/fabric.h"
#include "transport/shm/scoped_mapping.h"
#include "transport/shm/shm_context.h"
#include "transport/shm/shm_memory.h"
#include "transport/shm/shm_socket.h"

namespace acre::transport {

// What a peer's Hello brought, judged and mapped.
struct PeerSide {
  PacketSocket::Peer identity;
  Atomicity atomicity = Atomicity::kHca;
  uint64_t atomic_domain = 0;
  uint32_t receive_queue_depth = 0;
  std::string private_data;
  ScopedMapping receive_ring;  // The peer's: we write it.
  ScopedMapping wake_page;     // The peer's completion queue's: we look at it.
};

// Makes the receive ring that one peer may write.
absl::StatusOr<SharedMemory> MakeReceiveRing(uint32_t depth);

// Sends our Hello. Errors: InvalidArgument - too long private data; Unavailable - the peer has
// gone.
absl::Status SendHello(const ShmContext& context, absl::string_view private_data,
                       int receive_ring_fd, int wake_page_fd, PacketSocket* socket);

// Judges the first packet of a peer, and maps what came with it.
// Errors: InvalidArgument - with what is wrong with it: drop the connection.
absl::StatusOr<PeerSide> JudgeHello(const Packet& packet, const PacketSocket::Peer& identity);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_HANDSHAKE_H_
