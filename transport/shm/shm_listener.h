// ShmListener: where shm peers connect.
//
// A peer that connects says hello at once; until it has, it holds one of kWaitingMax places for at
// most kHelloNsMax, and loses it earlier to the next one when all are taken. A hello that is not as
// it should be closes its connection, and is never seen by the caller.
//
// When descriptors run out, new peers wait in the kernel's queue until a timer looks again, so that
// nothing spins and nobody is turned away.
//
// Ownership:  borrows the context. Requests that it returned outlive it.
// Threads:    one at a time.

#ifndef ACRE_TRANSPORT_SHM_SHM_LISTENER_H_
#define ACRE_TRANSPORT_SHM_SHM_LISTENER_H_

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "transport/fabric.h"
#include "transport/shm/shm_context.h"
#include "transport/shm/shm_handshake.h"
#include "transport/shm/shm_socket.h"

namespace acre::transport {

class ShmListener final : public Listener {
 public:
  static constexpr size_t kWaitingMax = 64;
  static constexpr uint64_t kHelloNsMax = 2'000'000'000;

  // `name` should be hard to guess: whoever knows it may connect, whatever its user.
  static absl::StatusOr<std::unique_ptr<ShmListener>> Create(ShmContext* context, std::string name);
  ~ShmListener() override;

  std::string endpoint() const override;
  int fd() const override { return epoll_fd_.get(); }
  std::unique_ptr<ConnectionRequest> Poll() override;

 private:
  struct Waiting {
    PacketSocket socket;
    uint64_t until_ns;
  };

  ShmListener(ShmContext* context, std::string name, ScopedFd socket_fd, ScopedFd epoll_fd,
              ScopedFd timer_fd);

  void AcceptPeers();
  // Hears a peer that waits. Null: it has not spoken, or was dropped.
  std::unique_ptr<ConnectionRequest> Hear(std::list<Waiting>::iterator waiting);
  void Drop(std::list<Waiting>::iterator waiting);
  void OnTimer();
  void SetAccepting(bool accepting);
  void SetTimer(uint64_t period_ns);

  ShmContext* context_;
  std::string name_;
  ScopedFd socket_fd_;
  ScopedFd epoll_fd_;
  ScopedFd timer_fd_;
  bool is_accepting_ = false;
  std::list<Waiting> waiting_;  // Oldest first.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_LISTENER_H_
