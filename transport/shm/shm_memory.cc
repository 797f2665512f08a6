#include "transport/shm/shm_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

constexpr size_t k2M = size_t{2} << 20;
constexpr size_t k1G = size_t{1} << 30;

constexpr int kSealsAgainstTruncation = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// How to get pages of this size, for page_note() and errors.
std::string HowToGet(size_t page_bytes, size_t size_bytes) {
  return absl::StrCat("no ", page_bytes == k1G ? "1 GiB" : "2 MiB", " huge pages free for ",
                      size_bytes >> 20, " MiB; to get them: echo ",
                      (size_bytes + page_bytes - 1) / page_bytes,
                      " > /sys/kernel/mm/hugepages/hugepages-", page_bytes >> 10,
                      "kB/nr_hugepages (added to what others use)");
}

// Makes, maps and seals memory on pages of one size. `huge_flags` are those of memfd_create.
absl::StatusOr<SharedMemory> TryMake(const std::string& name, size_t size_bytes, size_t page_bytes,
                                     unsigned huge_flags, PeerAccess peer_access) {
  const size_t rounded_bytes = (size_bytes + page_bytes - 1) / page_bytes * page_bytes;
  SharedMemory made;
  made.page_bytes = page_bytes;
  made.fd = ScopedFd(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | huge_flags));
  if (!made.fd.is_open()) return absl::ErrnoToStatus(errno, "memfd_create");
  if (ftruncate(made.fd.get(), static_cast<off_t>(rounded_bytes)) != 0) {
    return absl::ErrnoToStatus(errno, "ftruncate");
  }
  // Without MAP_NORESERVE the kernel sets the huge pages aside here, or fails.
  void* memory = mmap(nullptr, rounded_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, made.fd.get(), 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap");
  made.mapping = ScopedMapping(memory, rounded_bytes);
  // Memory stays out of core dumps: they would be as large as the store.
  madvise(memory, rounded_bytes, MADV_DONTDUMP);
  const int seals =
      kSealsAgainstTruncation | (peer_access == PeerAccess::kReadOnly ? F_SEAL_FUTURE_WRITE : 0);
  if (fcntl(made.fd.get(), F_ADD_SEALS, seals) != 0)
    return absl::ErrnoToStatus(errno, "F_ADD_SEALS");
  return made;
}

absl::StatusOr<SharedMemory> TryMake2M(const std::string& name, size_t size_bytes,
                                       PeerAccess access) {
  return TryMake(name, size_bytes, k2M, MFD_HUGETLB | MFD_HUGE_2MB, access);
}

absl::StatusOr<SharedMemory> TryMake1G(const std::string& name, size_t size_bytes,
                                       PeerAccess access) {
  return TryMake(name, size_bytes, k1G, MFD_HUGETLB | MFD_HUGE_1GB, access);
}

absl::StatusOr<SharedMemory> MakeOfStatedSize(absl::StatusOr<SharedMemory> made, size_t page_bytes,
                                              size_t size_bytes) {
  if (made.ok()) return made;
  return absl::InvalidArgumentError(
      absl::StrCat(HowToGet(page_bytes, size_bytes), " (", made.status().message(), ")"));
}

absl::StatusOr<SharedMemory> MakeOnNormalPages(const std::string& name, size_t size_bytes,
                                               PeerAccess access) {
  absl::StatusOr<SharedMemory> made =
      TryMake(name, size_bytes, static_cast<size_t>(sysconf(_SC_PAGESIZE)), 0, access);
  if (made.ok()) return made;
  return absl::ResourceExhaustedError(absl::StrCat(
      "cannot get ", size_bytes, " bytes of shared memory for '", name,
      "': ", made.status().message(), "; free memory or descriptors (ulimit -n), or ask for less"));
}

}  // namespace

absl::StatusOr<SharedMemory> MakeSharedMemory(const std::string& name, size_t size_bytes,
                                              HugePages huge_pages, PeerAccess peer_access) {
  CHECK_GT(size_bytes, 0u);
  switch (huge_pages) {
    case HugePages::k1G:
      return MakeOfStatedSize(TryMake1G(name, size_bytes, peer_access), k1G, size_bytes);
    case HugePages::k2M:
      return MakeOfStatedSize(TryMake2M(name, size_bytes, peer_access), k2M, size_bytes);
    case HugePages::kOff:
      return MakeOnNormalPages(name, size_bytes, peer_access);
    case HugePages::kAuto:
      break;
  }
  std::string note;
  if (size_bytes >= k1G) {
    absl::StatusOr<SharedMemory> made = TryMake1G(name, size_bytes, peer_access);
    if (made.ok()) return made;
    note = HowToGet(k1G, size_bytes);
  }
  // Smaller memory would waste most of a huge page, and gain nothing.
  if (size_bytes >= k2M) {
    absl::StatusOr<SharedMemory> made = TryMake2M(name, size_bytes, peer_access);
    if (note.empty()) note = HowToGet(k2M, size_bytes);
    if (made.ok()) {
      if (size_bytes >= k1G) made->page_note = note;
      return made;
    }
  }
  absl::StatusOr<SharedMemory> made = MakeOnNormalPages(name, size_bytes, peer_access);
  if (made.ok() && !note.empty()) {
    made->page_note = note;
    // Where the administrator allows it (shmem_enabled), normal pages grow together by themselves.
    madvise(made->mapping.words(), made->mapping.size_bytes(), MADV_HUGEPAGE);
  }
  return made;
}

bool IsTrustedUid(uint32_t uid) { return uid == 0 || uid == geteuid(); }

absl::StatusOr<ScopedMapping> MapPeerMemory(int fd, size_t size_bytes, PeerAccess access,
                                            uint32_t peer_uid) {
  // First of all: on anything but a memfd this fails, and asks no file system that might never
  // answer.
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return absl::InvalidArgumentError("a peer's descriptor is not a memfd");
  if ((seals & kSealsAgainstTruncation) != kSealsAgainstTruncation) {
    return absl::InvalidArgumentError(
        "a peer's memory is not sealed: it could be truncated under us");
  }
  struct stat status = {};
  if (fstat(fd, &status) != 0 || static_cast<uint64_t>(status.st_size) != size_bytes) {
    return absl::InvalidArgumentError("a peer's memory is not as large as said");
  }
  struct statfs file_system = {};
  if (fstatfs(fd, &file_system) != 0) return absl::InvalidArgumentError("a peer's memory: fstatfs");
  const bool is_huge = static_cast<uint64_t>(file_system.f_type) == HUGETLBFS_MAGIC;
  if (is_huge && (seals & F_SEAL_FUTURE_WRITE) == 0 && !IsTrustedUid(peer_uid)) {
    return absl::InvalidArgumentError(
        "another user's huge pages are not sealed: it could punch holes");
  }
  const int protection = access == PeerAccess::kReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
  // Never MAP_NORESERVE: huge pages that its owner did not reserve are reserved here, or refused.
  void* memory = mmap(nullptr, size_bytes, protection, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    return absl::InvalidArgumentError(
        absl::StrCat("a peer's memory cannot be mapped: ", strerror(errno)));
  }
  madvise(memory, size_bytes, MADV_DONTDUMP);
  return ScopedMapping(memory, size_bytes);
}

}  // namespace acre::transport
