// Two network namespaces joined by a veth pair: two machines, as far as the network goes.
//
// Needs root and `ip` (iproute2). Names carry the process id, so that tests run side by side.
//
// Threads: one at a time.

#ifndef ACRE_TRANSPORT_CONFORMANCE_TCP_NAMESPACES_H_
#define ACRE_TRANSPORT_CONFORMANCE_TCP_NAMESPACES_H_

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/scoped_fd.h"

namespace acre::transport {

class TwoNamespaces {
 public:
  static constexpr size_t kCount = 2;

  // FailedPrecondition: not here; the message says why.
  static absl::StatusOr<std::unique_ptr<TwoNamespaces>> Create();
  ~TwoNamespaces();
  TwoNamespaces(const TwoNamespaces&) = delete;
  TwoNamespaces& operator=(const TwoNamespaces&) = delete;

  // Runs `function` on a thread of its own in namespace 0 or 1. Sockets that it makes stay there.
  void RunIn(size_t index, const std::function<void()>& function) const;
  // The numeric address of that end of the pair.
  static std::string AddressOf(size_t index);
  // Cuts the cable, or mends it: packets vanish, nobody is told.
  void SetCut(bool cut) const;

 private:
  TwoNamespaces() = default;
  absl::Status SetUp();
  absl::Status Ip(const std::string& arguments) const;

  std::array<std::string, kCount> names_;
  std::array<ScopedFd, kCount> fds_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_CONFORMANCE_TCP_NAMESPACES_H_
