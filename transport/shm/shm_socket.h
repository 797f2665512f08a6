// PacketSocket: one end of the Unix socket between two shm peers.
//
// SOCK_SEQPACKET on an abstract name: packets keep their borders, nothing stays behind in a file
// system after kill -9, the kernel vouches for the peer's process, and the socket's hang-up is the
// peer's death.
//
// Ownership:  owns the socket, and the descriptors of a packet until they are taken out of it.
// Threads:    one at a time.
// Limits:     no call blocks, whatever the peer does to its end.

#ifndef ACRE_TRANSPORT_SHM_SHM_SOCKET_H_
#define ACRE_TRANSPORT_SHM_SHM_SOCKET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/scoped_fd.h"
#include "transport/shm/scoped_mapping.h"
#include "transport/shm/shm_wire.h"

namespace acre::transport {

// A packet as it came: nothing is judged yet but the number of its descriptors.
struct Packet {
  alignas(8) std::array<char, 128> bytes;
  size_t bytes_count = 0;
  std::array<ScopedFd, kPacketFdsMax> fds;
  size_t fds_count = 0;

  // The packet's kind, if it is long enough to have one.
  PacketKind kind() const {
    uint32_t kind = 0;
    if (bytes_count >= sizeof(kind))
      std::memcpy(&kind, bytes.data(), sizeof(kind));  // private memory
    return static_cast<PacketKind>(kind);
  }
  // Copies the packet into `to`. False: it has another length.
  template <typename T>
  bool CopyTo(T* to) const {
    if (bytes_count != sizeof(T)) return false;
    std::memcpy(to, bytes.data(), sizeof(T));  // private memory
    return true;
  }
};

enum class SendResult : uint8_t {
  kSent,
  kFull,  // Not sent: try again when the socket is writable.
  kGone,
};
enum class ReceiveResult : uint8_t {
  kPacket,
  kNothing,
  kGone,  // Closed by the peer, or it died.
  kBad,   // Too long, too many descriptors, or they could not be taken (too many open here).
};

class PacketSocket {
 public:
  PacketSocket() = default;
  explicit PacketSocket(ScopedFd fd) : fd_(std::move(fd)) {}

  // Errors: Unavailable - nobody listens there, or the listener has too many who wait.
  //         ResourceExhausted - no descriptor left.
  static absl::StatusOr<PacketSocket> Connect(absl::string_view abstract_name);
  static absl::StatusOr<ScopedFd> Listen(absl::string_view abstract_name);

  SendResult Send(absl::Span<const char> bytes, absl::Span<const int> fds);
  ReceiveResult Receive(Packet* packet);

  // Sends a structure of shm_wire.h.
  template <typename T>
  SendResult SendStruct(const T& packet, absl::Span<const int> fds) {
    return Send({reinterpret_cast<const char*>(&packet), sizeof(T)}, fds);
  }

  // The peer, as the kernel knew it when the connection was made. 0 and ~0 if it does not say.
  struct Peer {
    int pid = 0;
    uint32_t uid = ~uint32_t{0};
  };
  Peer peer() const;

  int fd() const { return fd_.get(); }
  bool is_open() const { return fd_.is_open(); }
  void Close() { fd_.Close(); }

 private:
  ScopedFd fd_;
};

// "shm:NAME" is how a peer is told of a listener; NAME is its abstract socket.
constexpr absl::string_view kShmEndpointPrefix = "shm:";

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_SOCKET_H_
