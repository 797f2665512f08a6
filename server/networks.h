// Networks: the fabrics that a server is reached on, and their doors to its one memory.
//
// One of the fabrics makes the regions: shm, if it is among them, since the kernel tells readers of its memory
// when we die. All others open second doors to them (transport::Fabric::RegisterRegion).
//
// Ownership: owns fabrics, doors and listeners; the regions are the caller's, who lets go of them between
//            CloseDoors() and the end of this.
// Threads:   one at a time.

#ifndef ACRE_SERVER_NETWORKS_H_
#define ACRE_SERVER_NETWORKS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "transport/bootstrap_server.h"
#include "transport/fabric.h"
#include "transport/providers/providers.h"

namespace acre::server {

// In --fabric, instead of names: shm, tcp, and verbs where there is a card and other machines reach us.
constexpr absl::string_view kAutoFabrics = "auto";

// A fabric that clients may come on.
struct ServedFabric {
  transport::Fabric* fabric = nullptr;
  std::vector<const transport::MemoryRegion*>
      regions;             // The table's, in its order, as it sees them.
  bool made_them = false;  // They take atomics through it.
};

class Networks {
 public:
  // OK, or InvalidArgument: a name that is none, or that comes twice; none at all; `device`, the card that is asked
  // for or "", and no name of a fabric that uses cards.
  static absl::Status Judge(const std::vector<std::string>& names, absl::string_view device);

  // Requires: Judge() let `names` through. `is_loopback`: only this machine reaches the server. `say`: told of
  // what auto leaves out though it may be wanted, here and later.
  // Errors: those of transport::OpenProvider(), with the flag that asked for it.
  static absl::StatusOr<Networks> Open(const std::vector<std::string>& names,
                                       const transport::ProviderOptions& options, bool is_loopback,
                                       const std::function<void(absl::string_view)>& say);

  // Makes the server's regions.
  transport::Fabric* maker() const { return open_[maker_].fabric.get(); }
  // Opens the others' doors to them, for reading. One of auto's that cannot is left out, and told of. Errors:
  // those of RegisterRegion.
  absl::Status OpenDoors(absl::Span<const std::unique_ptr<transport::MemoryRegion>> regions);
  // The favourite first, as long as the doors are open.
  std::vector<ServedFabric> served() const;
  // "shm and tcp".
  std::string Names() const;

  // From here on peers may connect; the listeners live till StopListening(). One of auto's that cannot listen is
  // not offered, and told of. Errors: those of Fabric::Listen.
  absl::StatusOr<std::vector<transport::BootstrapServer::OfferedFabric>> Listen();
  void StopListening();
  // Requires: no queue pair is left.
  void CloseDoors();

 private:
  struct OpenFabric {
    std::unique_ptr<transport::Fabric> fabric;
    bool is_optional = false;  // auto does without it, if it must.
    std::vector<std::unique_ptr<transport::MemoryRegion>> doors;  // None: its own are regions_.
    std::unique_ptr<transport::Listener> listener;
  };

  Networks() = default;

  absl::Status OpenDoorsOf(OpenFabric* open,
                           absl::Span<const std::unique_ptr<transport::MemoryRegion>> regions);
  // Whether it is left out, with this error.
  bool GoesWithout(const OpenFabric& open, const absl::Status& why) const;

  std::vector<OpenFabric> open_;
  size_t maker_ = 0;
  std::vector<const transport::MemoryRegion*> regions_;
  std::function<void(absl::string_view)> say_;
};

}  // namespace acre::server

#endif  // ACRE_SERVER_NETWORKS_H_
