#include "runtime/shared_word.h"

#include <immintrin.h>

#include "glog/logging.h"
#include "runtime/sanitizers.h"
#include "runtime/shared_word_widths.h"

namespace acre {
namespace {

constexpr size_t kLineWords = kLineBytes / kWordBytes;

#ifdef ACRE_SIM
constexpr bool kWordByWord = true;
#else
constexpr bool kWordByWord = kUnderAsan || kUnderTsan;
#endif

// "Vector loads of shared memory". Why a line may be loaded with vector instructions, although the
// language knows of no such atomic load:
// - The CPU: x86 keeps loads of ordinary memory in order, and does not tear a naturally aligned
//   8-byte word, also not one inside of a wider aligned load. The words of one vector load are
//   taken together, or in two halves in either order where a machine has narrower data paths
//   (64-byte loads on Zen 4, 32-byte loads on Zen 1 and Gracemont; no machine makes more than two
//   pieces of a load). Two halves are as good as one piece for what proves itself by equal first
//   and last words of a line that a writer changes before and after the rest (kvs/slot.h): each
//   half is of one moment at which its version word says "nobody writes", and versions do not
//   repeat.
// - The compiler: the load is an `asm volatile` with the exact bytes as memory operand, so it is
//   made once, whole, never elided, and `asm volatile` statements keep their order. The "memory"
//   clobber keeps every other access on its side, which with the CPU's order makes each load an
//   acquire.
// - The sanitizers see nothing inside of asm: under asan and tsan the copy goes word by word. So it
//   does in config sim, where each load is a scheduling point.

// The copies of whole lines, by width. `from` is line-aligned.
using CopyLines = void (*)(uint64_t* to, const SharedWord* from, size_t lines);

void CopyWords(uint64_t* to, const SharedWord* from, size_t words) {
  for (size_t i = 0; i < words; ++i) to[i] = from[i].Load(std::memory_order_acquire);
}

struct LineBytes {
  unsigned char bytes[kLineBytes];
};
struct HalfLineBytes {
  unsigned char bytes[kLineBytes / 2];
};
struct QuarterLineBytes {
  unsigned char bytes[kLineBytes / 4];
};

__attribute__((target("avx512f"))) void CopyLines64(uint64_t* to, const SharedWord* from,
                                                    size_t lines) {
  const auto* source = reinterpret_cast<const LineBytes*>(from);
  for (size_t i = 0; i < lines; ++i) {
    __m512i line;
    // Reads one line that others may write: any words they stored, each whole.
    asm volatile("vmovdqa64 %1, %0" : "=v"(line) : "m"(source[i]) : "memory");
    _mm512_storeu_si512(to + i * kLineWords, line);
  }
}

__attribute__((target("avx2"))) void CopyLines32(uint64_t* to, const SharedWord* from,
                                                 size_t lines) {
  const auto* source = reinterpret_cast<const HalfLineBytes*>(from);
  for (size_t i = 0; i < 2 * lines; ++i) {
    __m256i half;
    // As above, half a line.
    asm volatile("vmovdqa %1, %0" : "=x"(half) : "m"(source[i]) : "memory");
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i * kLineWords / 2), half);
  }
}

void CopyLines16(uint64_t* to, const SharedWord* from, size_t lines) {
  const auto* source = reinterpret_cast<const QuarterLineBytes*>(from);
  for (size_t i = 0; i < 4 * lines; ++i) {
    __m128i quarter;
    // As above, a quarter of a line.
    asm volatile("movdqa %1, %0" : "=x"(quarter) : "m"(source[i]) : "memory");
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * kLineWords / 4), quarter);
  }
}

// Word by word up to the first line boundary and behind the last.
template <CopyLines kCopyLines>
void CopyAscending(uint64_t* to, const SharedWord* from, size_t words) {
  const size_t misaligned_words = (reinterpret_cast<uintptr_t>(from) / kWordBytes) % kLineWords;
  if (misaligned_words != 0) {
    size_t head = kLineWords - misaligned_words;
    if (head > words) head = words;
    CopyWords(to, from, head);
    to += head;
    from += head;
    words -= head;
  }
  const size_t lines = words / kLineWords;
  kCopyLines(to, from, lines);
  const size_t copied = lines * kLineWords;
  CopyWords(to + copied, from + copied, words - copied);
}

constexpr SharedCopyWidth kWidths[] = {
    {8, &CopyWords},
    {16, &CopyAscending<&CopyLines16>},
    {32, &CopyAscending<&CopyLines32>},
    {64, &CopyAscending<&CopyLines64>},
};

size_t WidthsCount() {
  if (!__builtin_cpu_supports("avx2")) return 2;
  if (!__builtin_cpu_supports("avx512f")) return 3;
  return 4;
}

using Copy = void (*)(uint64_t* to, const SharedWord* from, size_t words);

void ResolveAndCopy(uint64_t* to, const SharedWord* from, size_t words);

// What this machine uses. Starts with the function that finds out, so that it works before and
// during static initialisation. Any thread reads it and sees that function or the final one, either
// is right; all writers write the same.
constinit std::atomic<Copy> copy_ascending{&ResolveAndCopy};

void ResolveAndCopy(uint64_t* to, const SharedWord* from, size_t words) {
  __builtin_cpu_init();
  const Copy copy = kWordByWord ? &CopyWords : SharedCopyWidths().back().copy;
  copy_ascending.store(copy, std::memory_order_relaxed);
  copy(to, from, words);
}

// Only ever touched by its thread: an instruction to lock, not a value.
constinit thread_local std::atomic<uint64_t> barrier_word{0};

}  // namespace

absl::Span<const SharedCopyWidth> SharedCopyWidths() {
  return absl::MakeConstSpan(kWidths, WidthsCount());
}

void CopyFromShared(uint64_t* to, const SharedWord* from, size_t words, CopyOrder order) {
  if (order == CopyOrder::kAscending) {
    copy_ascending.load(std::memory_order_relaxed)(to, from, words);
    return;
  }
  for (size_t i = words; i > 0; --i) to[i - 1] = from[i - 1].Load(std::memory_order_acquire);
}

void CopyToShared(SharedWord* to, const uint64_t* from, size_t words, CopyOrder order) {
  // Release: whoever reads a word of it sees the words stored before.
  if (order == CopyOrder::kAscending) {
    for (size_t i = 0; i < words; ++i) to[i].Store(from[i], std::memory_order_release);
  } else {
    for (size_t i = words; i > 0; --i) to[i - 1].Store(from[i - 1], std::memory_order_release);
  }
}

void ZeroShared(SharedWord* to, size_t words) {
  for (size_t i = 0; i < words; ++i) to[i].Store(0, std::memory_order_relaxed);
}

void StoreLoadBarrier() {
#ifdef ACRE_SIM
  if (simulated_cpu != nullptr) return simulated_cpu->StoreLoadBarrier();
#endif
  // A locked instruction empties the store buffer before any later load, whatever word it is on.
  // The compiler moves nothing across it: it releases (nothing sinks below) and acquires (nothing
  // rises above).
  (void)barrier_word.exchange(1, std::memory_order_seq_cst);
}

}  // namespace acre
