#include "lock/local_arena.h"

#include <sys/mman.h>

#include "absl/memory/memory.h"
#include "glog/logging.h"

namespace acre {

std::unique_ptr<LocalArena> LocalArena::Create(uint32_t descriptors_count) {
  CHECK_GT(descriptors_count, 1u);
  const size_t bytes = size_t{descriptors_count} * kLineBytes;
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PCHECK(mapped != MAP_FAILED) << bytes << " bytes of address space for descriptors of locks";
  return absl::WrapUnique(new LocalArena(mapped, bytes));
}

LocalArena::LocalArena(void* mapped, size_t bytes)
    : descriptors_(static_cast<LocalDescriptor*>(mapped)),
      count_(static_cast<uint32_t>(bytes / kLineBytes)),
      mapped_bytes_(bytes),
      hint_() {}

LocalArena::LocalArena(absl::Span<SharedWord> words)
    : descriptors_(reinterpret_cast<LocalDescriptor*>(words.data())),
      count_(static_cast<uint32_t>(words.size() * kWordBytes / kLineBytes)),
      mapped_bytes_(0),
      hint_() {
  CHECK_EQ(reinterpret_cast<uintptr_t>(words.data()) % kLineBytes, 0u);
  CHECK_GT(count_, 1u);
  CHECK_LE(count_, LocalWord::kIndexMax);
}

LocalArena::~LocalArena() {
  if (mapped_bytes_ == 0) return;
  // A simulated CPU's stores are late: those of this thread (Free) land while there is memory to land in.
  StoreLoadBarrier();
  munmap(descriptors_, mapped_bytes_);
}

LocalWord LocalArena::Claim(uint32_t process_id) {
  CHECK_NE(process_id, 0u);
  const uint32_t start = static_cast<uint32_t>(hint_.Load(std::memory_order_relaxed));
  for (uint32_t i = 0; i < count_ - 1; ++i) {
    const uint32_t index = 1 + (start + i) % (count_ - 1);
    LocalDescriptor& descriptor = descriptors_[index];
    uint64_t free = 0;
    if (descriptor.owner.Load(std::memory_order_relaxed) != 0) continue;
    // Acquire: the word that its last owner left.
    if (!descriptor.owner.CompareExchange(&free, process_id, std::memory_order_acquire)) continue;
    hint_.Store(index, std::memory_order_relaxed);
    // Before the descriptor gets into any queue: whoever finds it there, or its owner dead, finds it below the end.
    uint64_t end = descriptors_[0].pred.Load(std::memory_order_relaxed);
    while (end <= index &&
           !descriptors_[0].pred.CompareExchange(&end, index + 1, std::memory_order_release)) {
    }
    const uint64_t last = descriptor.word.Load(std::memory_order_relaxed);
    return LocalWord(index, LocalWord::FromBits(last).sequence() + 1);
  }
  return LocalWord();
}

uint32_t LocalArena::claimed_end() const {
  const uint64_t end = descriptors_[0].pred.Load(std::memory_order_acquire);
  return end < count_ ? static_cast<uint32_t>(end) : count_;
}

void LocalArena::Free(LocalWord word) {
  LocalDescriptor* const descriptor = Find(word);
  descriptor->word.Store(word.bits(), std::memory_order_relaxed);
  descriptor->owner.Store(0, std::memory_order_release);
  hint_.Store(word.index() - 1, std::memory_order_relaxed);
}

}  // namespace acre
