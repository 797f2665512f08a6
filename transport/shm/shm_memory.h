// Memory that processes share: making it so that peers cannot harm us, and judging what a peer
// passes.
//
// Shared memory is a memfd, sealed as soon as its owner has mapped it. Seals are the kernel's word,
// and they hold for every descriptor of the memfd, also one that was reopened through /proc:
//   SHRINK, GROW   nobody can truncate it, so that no reader dies of SIGBUS.
//   FUTURE_WRITE   only mappings made before may write; nobody can punch holes.
//   SEAL           no seal can be added, such as one that would keep us from mapping.
//
// Huge pages and holes: a hole punched into huge pages gives the page back to the machine, and the
// next access dies of SIGBUS if there is none left. So huge pages without FUTURE_WRITE are shared
// only with processes of the same user or of root, which could kill us anyway.

#ifndef ACRE_TRANSPORT_SHM_SHM_MEMORY_H_
#define ACRE_TRANSPORT_SHM_SHM_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/scoped_fd.h"
#include "transport/fabric.h"
#include "transport/shm/scoped_mapping.h"

namespace acre::transport {

struct SharedMemory {
  ScopedFd fd;            // Sealed: to be passed to peers.
  ScopedMapping mapping;  // Ours: read and write.
  size_t page_bytes = 0;
  std::string page_note;  // Why the pages are smaller than they might be, else "".
};

enum class PeerAccess : uint8_t { kReadOnly, kReadWrite };

// Makes zero-filled memory of at least `size_bytes`, rounded up to whole pages, and seals it.
// Huge pages are reserved, not touched: their first use costs the kernel's zeroing, and cannot fail.
// Errors: ResourceExhausted - no memory; InvalidArgument - huge pages of a stated size that are not
// there.
absl::StatusOr<SharedMemory> MakeSharedMemory(const std::string& name, size_t size_bytes,
                                              HugePages huge_pages, PeerAccess peer_access);

// Whether a process of `uid` may do us any harm already, so that memory need not protect us from it.
bool IsTrustedUid(uint32_t uid);

// Maps memory that a peer of user `peer_uid` passed, if it can do us no harm.
// Errors: InvalidArgument - not a memfd, not sealed, not of `size_bytes`, not mappable with
//         `access`.
absl::StatusOr<ScopedMapping> MapPeerMemory(int fd, size_t size_bytes, PeerAccess access,
                                            uint32_t peer_uid);

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SHM_MEMORY_H_
