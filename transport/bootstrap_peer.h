// The second half of the handshake, on both sides: from a fabric to a channel. See docs/handshake.md.

#ifndef ACRE_TRANSPORT_BOOTSTRAP_PEER_H_
#define ACRE_TRANSPORT_BOOTSTRAP_PEER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/scheduler.h"
#include "runtime/task.h"
#include "transport/bootstrap_server.h"
#include "transport/bootstrap_wire.h"
#include "transport/channel.h"
#include "transport/fabric.h"
#include "transport/port.h"
#include "transport/resolver.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre::transport {

// A connection with its channel, attached on both sides. Nothing of the peer has come on the channel
// when a handshake gives it; the queue pair may have broken meanwhile: after Port::SetSink() look at its
// state.
//
// Threads: the port's.
class Link {
 public:
  Link() = default;
  Link(Port* port, std::unique_ptr<QueuePair> queue_pair)
      : port_(port), queue_pair_(std::move(queue_pair)) {}
  Link(Link&& other) noexcept = default;
  Link& operator=(Link&& other) noexcept;
  ~Link() { Close(); }

  QueuePair* queue_pair() const { return queue_pair_.get(); }  // Null: none, or closed.
  Channel* channel() const { return channel_.get(); }
  void set_channel(std::unique_ptr<Channel> channel) { channel_ = std::move(channel); }
  // Disconnects. The channel goes first: it borrows the queue pair.
  void Close();
  // Disconnects and keeps the channel, broken, to be drained: CloseGate(), BreakQueuePair(), Drain(),
  // Close(). queue_pair() is null after it; completions no longer come. Again does nothing.
  void BreakQueuePair();

 private:
  Port* port_ = nullptr;
  std::unique_ptr<QueuePair> queue_pair_;
  std::unique_ptr<Channel> channel_;
};

// Server: takes a peer in. Grants rights on `regions`, in their order. All pointers outlive the task.
// Errors: Unavailable, DeadlineExceeded - the peer went or dawdles. InvalidArgument - its bytes make no
// sense. ResourceExhausted - no memory for the channel. In every case nothing is left behind.
struct AcceptOptions {
  Fabric* fabric = nullptr;
  Port* port = nullptr;
  ChannelOptions channel;
  std::vector<const MemoryRegion*> regions;
  // The rights for this peer; 0: none, it is told of no region. Also where the provider cannot keep it to them
  // (InvalidArgument of Grant). Null: READ, and that is an error.
  std::function<uint32_t(const QueuePair& queue_pair)> rights_for;
  uint32_t facts = 0;  // ConnectedPeer::facts.
};
Task<absl::StatusOr<Link>> AcceptPeer(ArrivingPeer peer, AcceptOptions options);

// Client: who it is and what it has.
struct ConnectOptions {
  HostPort server;
  uint32_t layout_version = 0;
  // What an earlier handshake gave; zeros at first.
  uint32_t process_id = 0;
  uint64_t process_id_generation = 0;
  Credentials credentials;
  // The view of the cluster that the client knows. 0: any.
  uint64_t view = 0;
  // For the upper layer: on this connection the server is the one that asks, and nobody has work done.
  bool is_control = false;
  // What the connection may use, the best first: the first that the server offers, that reaches it, and that has
  // memory for a channel is taken. All ports have one scheduler. If there is one only, and no more_fabrics, its name is told to the
  // server, which refuses if it does not have it.
  struct LocalFabric {
    Fabric* fabric = nullptr;
    Port* port = nullptr;
  };
  std::vector<LocalFabric> fabrics;
  // Further ones, liked less: opened when none of those got through. Null: there are none. Its errors are
  // ConnectPeer's.
  std::function<absl::StatusOr<std::vector<LocalFabric>>()> more_fabrics;
  ChannelOptions channel;
  uint64_t deadline_ns = 0;
  // Null: one for this connection. Who connects again and again has one for all attempts.
  Resolver* resolver = nullptr;
};

struct ConnectedPeer {
  Link link;
  ConnectOptions::LocalFabric local;  // Which of them it uses.
  uint64_t generation = 0;            // Of the server.
  uint64_t lease_ns = 0;
  uint32_t process_id = 0;
  std::string local_host;  // Ours, numeric, as the server's network knows it.
  ServerPlace place;       // Of the server.
  uint32_t facts = 0;      // Of the upper layer: what the server says that this connection may do.
  std::vector<GrantedRegion> regions;
};

// Connects to a server. All pointers outlive the task.
// Errors: Unavailable - nobody listens, no such host, or the server went meanwhile. DeadlineExceeded.
// FailedPrecondition - the server refused: another release, no such fabric, no secret to prove; or it offers
// none of ours. OutOfRange - it is of another view.
// PermissionDenied - the secret: the server asks for one, or has another, or cannot prove it.
// ResourceExhausted - the server has too many clients, or no fabric has memory for a channel. DataLoss - it is no such server at all, its bytes
// make no sense. Messages do not name the server: the caller does.
Task<absl::StatusOr<ConnectedPeer>> ConnectPeer(ConnectOptions options);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_BOOTSTRAP_PEER_H_
