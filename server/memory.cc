#include "server/memory.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/shared_word.h"
#include "server/size.h"

namespace acre::server {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 20;
constexpr uint64_t kSayEveryNs = 2'000'000'000;
constexpr size_t kSmallPageBytes = 4096;
constexpr uint64_t kRegionGrainBytes = uint64_t{2} << 20;

struct Chunk {
  SharedWord* words;
  size_t bytes;
};

// Returns an errno, or 0.
int Populate(const Chunk& chunk) {
  while (madvise(chunk.words, chunk.bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR) continue;
    if (errno != EINVAL) return errno;
    // Before Linux 5.14: a store to each page does it, and a shortage kills us. Adding 0 keeps what is
    // there, the header's words too. Nobody else has the memory yet; relaxed.
    for (size_t i = 0; i < chunk.bytes; i += kSmallPageBytes) {
      (void)chunk.words[i / kWordBytes].FetchAdd(0, std::memory_order_relaxed);
    }
    break;
  }
  return 0;
}

}  // namespace

RegionPlan PlanRegions(uint64_t memory_bytes, uint64_t region_bytes_max) {
  RegionPlan plan;
  plan.count = std::max<uint64_t>(1, (memory_bytes + region_bytes_max - 1) / region_bytes_max);
  plan.bytes = memory_bytes / plan.count / kRegionGrainBytes * kRegionGrainBytes;
  return plan;
}

absl::Status PopulateRegions(absl::Span<transport::MemoryRegion* const> regions, int threads,
                             Clock* clock, const std::function<void(absl::string_view)>& say,
                             const std::function<bool()>& stop_requested) {
  std::vector<Chunk> chunks;
  uint64_t total_bytes = 0;
  for (transport::MemoryRegion* const region : regions) {
    for (size_t at = 0; at < region->size_bytes(); at += kChunkBytes) {
      chunks.push_back(
          {region->words() + at / kWordBytes, std::min(kChunkBytes, region->size_bytes() - at)});
    }
    total_bytes += region->size_bytes();
  }
  // Relaxed: the threads' end orders everything else. `next`: the chunk to take; `error`: of any thread.
  std::atomic<size_t> next{0};
  std::atomic<int> error{0};
  const auto work = [&](bool is_first) {
    uint64_t say_at_ns = clock->NowNs() + kSayEveryNs;
    while (error.load(std::memory_order_relaxed) == 0) {
      const size_t mine = next.fetch_add(1, std::memory_order_relaxed);
      if (mine >= chunks.size()) return;
      if (const int failed = Populate(chunks[mine]); failed != 0) {
        error.store(failed, std::memory_order_relaxed);
      }
      if (!is_first) continue;
      if (stop_requested && stop_requested()) error.store(ECANCELED, std::memory_order_relaxed);
      if (clock->NowNs() < say_at_ns) continue;
      say(absl::StrCat("preparing memory: ", FormatSize(mine * kChunkBytes), " of ",
                       FormatSize(total_bytes)));
      say_at_ns += kSayEveryNs;
    }
  };
  const size_t helpers = std::min(static_cast<size_t>(std::max(threads, 1)), chunks.size()) - 1;
  std::vector<std::thread> pool;
  for (size_t i = 0; i < helpers; ++i) pool.emplace_back(work, /*is_first=*/false);
  work(/*is_first=*/true);
  for (std::thread& thread : pool) thread.join();
  const int failed = error.load(std::memory_order_relaxed);
  if (failed == ECANCELED) return absl::CancelledError("stopped while it prepared its memory");
  if (failed != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the machine cannot give ", FormatSize(total_bytes), " of memory (",
                     strerror(failed), "): start the server with less --memory, or free some"));
  }
  return absl::OkStatus();
}

}  // namespace acre::server
