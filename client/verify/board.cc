#include "client/verify/board.h"

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace acre::verify {
namespace {

size_t RoundUp(size_t bytes) { return (bytes + kLineBytes - 1) / kLineBytes * kLineBytes; }

}  // namespace

void SharedMessage::Set(absl::string_view text) {
  if (bytes_count_.Load(std::memory_order_relaxed) != 0) return;
  text = text.substr(0, (kWords - 1) * kWordBytes);
  for (size_t at = 0; at < text.size(); at += kWordBytes) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, std::min(kWordBytes, text.size() - at));
    words_[at / kWordBytes].Store(word, std::memory_order_relaxed);
  }
  bytes_count_.Store(text.size(), std::memory_order_release);
}

std::string SharedMessage::Get() const {
  const size_t bytes =
      std::min<size_t>(bytes_count_.Load(std::memory_order_acquire), (kWords - 1) * kWordBytes);
  std::string text(bytes, '\0');
  for (size_t at = 0; at < bytes; at += kWordBytes) {
    const uint64_t word = words_[at / kWordBytes].Load(std::memory_order_relaxed);
    std::memcpy(text.data() + at, &word, std::min(kWordBytes, bytes - at));
  }
  return text;
}

absl::StatusOr<std::unique_ptr<Board>> Board::Map(size_t seats, uint32_t keys,
                                                  size_t journal_numbers) {
  const size_t bytes = RoundUp(sizeof(Header)) + RoundUp(KeyCounters::WordsFor(keys) * kWordBytes) +
                       RoundUp(seats * sizeof(Seat)) + seats * journal_numbers * sizeof(uint32_t);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no ", bytes >> 20, " MiB of address space for journals: ", std::strerror(errno)));
  }
  return std::unique_ptr<Board>(
      new Board(static_cast<char*>(memory), bytes, seats, keys, journal_numbers));
}

// Zeros are what SharedWords begin with.
Board::Board(char* memory, size_t bytes, size_t seats, uint32_t keys, size_t journal_numbers)
    : memory_(memory), bytes_(bytes), seats_(seats), journal_numbers_(journal_numbers) {
  char* at = memory;
  header_ = reinterpret_cast<Header*>(at);
  at += RoundUp(sizeof(Header));
  const size_t counters = KeyCounters::WordsFor(keys);
  key_counters_ = absl::MakeSpan(reinterpret_cast<SharedWord*>(at), counters);
  at += RoundUp(counters * kWordBytes);
  seats_at_ = reinterpret_cast<Seat*>(at);
  at += RoundUp(seats * sizeof(Seat));
  journals_ = reinterpret_cast<uint32_t*>(at);
}

Board::~Board() { munmap(memory_, bytes_); }

absl::Span<uint32_t> Board::journal_room(size_t index) {
  return absl::MakeSpan(journals_ + index * journal_numbers_, journal_numbers_);
}

absl::Span<const uint32_t> Board::Journal(size_t index) {
  const size_t length = seat(index).length.Load(std::memory_order_acquire);
  return journal_room(index).first(std::min(length, journal_numbers_));
}

void Board::Start(uint32_t epoch) {
  for (size_t i = 0; i < seats_; ++i) seat(i).length.Store(0, std::memory_order_relaxed);
  for (SharedWord& word : key_counters_) word.Store(0, std::memory_order_relaxed);
  header_->begun.Store(0, std::memory_order_relaxed);
  header_->epoch.Store(epoch, std::memory_order_release);
}

void Board::Stop(uint32_t epoch) { header_->stopped_epoch.Store(epoch, std::memory_order_relaxed); }

uint32_t Board::epoch() const {
  return static_cast<uint32_t>(header_->epoch.Load(std::memory_order_acquire));
}

SharedNumbers Board::numbers() {
  return {&header_->next_process, &header_->begun, &header_->stopped_epoch};
}

SharedWord& Board::slowest_ns() { return header_->slowest_ns; }

}  // namespace acre::verify
