// TcpListener: where tcp peers connect.
//
// A connection is two streams (tcp_wire.h). Each says hello at once; until both have, they hold places of
// the kWaitingMax for at most kHelloNsMax, and lose them earlier to newer ones when all are taken: first the
// oldest of those that have not said hello, so that who only connects cannot crowd out who speaks; the oldest
// of all when each has (a hello proves nothing, and half connections must not shut the door). A hello
// that is not as it should be closes its stream, and is never seen by the caller.
//
// When descriptors run out, new peers wait in the kernel's queue until a timer looks again, so that
// nothing spins and nobody is turned away.
//
// Ownership:  borrows the context. Requests that it returned outlive it.
// Threads:    one at a time.

#ifndef ACRE_TRANSPORT_TCP_TCP_LISTENER_H_
#define ACRE_TRANSPORT_TCP_TCP_LISTENER_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/socket.h"
#include "transport/tcp/tcp_context.h"
#include "transport/tcp/tcp_wire.h"

namespace acre::transport {

class TcpListener final : public Listener {
 public:
  static constexpr size_t kWaitingMax = 256;
  static constexpr uint64_t kHelloNsMax = 2'000'000'000;

  // Listens on a free port of `host`, a numeric address. InvalidArgument: no address of this machine.
  static absl::StatusOr<std::unique_ptr<TcpListener>> Create(TcpContext* context,
                                                             const std::string& host);
  ~TcpListener() override;

  // Of a listener at all addresses (0.0.0.0, ::): the loopback one.
  std::string endpoint() const override;
  std::string EndpointFor(absl::string_view host) const override;
  int fd() const override { return epoll_fd_.get(); }
  std::unique_ptr<ConnectionRequest> Poll() override;

 private:
  struct Waiting {
    ScopedFd stream;
    uint64_t until_ns;
    TcpHello hello = {};
    size_t hello_bytes = 0;  // That have come.
  };
  using Place = std::list<Waiting>::iterator;

  TcpListener(TcpContext* context, HostPort bound, ScopedFd socket_fd, ScopedFd epoll_fd,
              ScopedFd timer_fd);

  void AcceptPeers();
  void MakeRoom();
  // Hears a stream that waits. Null: it has not spoken, its other half has not come, or it was dropped.
  std::unique_ptr<ConnectionRequest> Hear(Place waiting);
  // The other stream of the same connection, or end().
  Place FindOther(Place waiting);
  std::unique_ptr<ConnectionRequest> Pair(Place one, Place other);
  ScopedFd TakeOut(Place waiting);
  // Closes it and has it counted.
  std::nullptr_t TurnAway(Place waiting, absl::string_view why);
  void OnTimer();
  void SetAccepting(bool accepting);
  void SetTimer(uint64_t period_ns);

  TcpContext* const context_;
  const HostPort bound_;
  const ScopedFd socket_fd_;
  const ScopedFd epoll_fd_;
  const ScopedFd timer_fd_;
  bool is_accepting_ = false;
  std::list<Waiting> waiting_;             // The oldest first.
  std::unordered_map<int, Place> places_;  // Of waiting_, by descriptor.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_LISTENER_H_
