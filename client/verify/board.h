// Board: the memory that the processes of a kv_verify run share: what the parent asks for, what the
// workers answer, and their journals. It outlives any of them that is killed.
//
// The parent maps it before it forks. A worker process has `threads` seats, one for each of its
// threads; a process that takes a dead one's place takes its seats, and goes on behind what their
// journals have. One seat more is the janitor's.
//
//   parent: Start(1) ... Stop(1) ... wait till IsDone() of all seats ... read the journals ... Start(2) ...
//   thread: wait for epoch() > done ... run ... SetDone(epoch)
//
// Memory: journals are reserved, not taken: what an epoch has written stays taken.
// Threads: each function says whose it is.

#ifndef ACRE_CLIENT_VERIFY_BOARD_H_
#define ACRE_CLIENT_VERIFY_BOARD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/verify/plan.h"
#include "client/verify/session.h"
#include "runtime/shared_word.h"

namespace acre::verify {

// A message of up to kWords words less one; written once, by one thread.
class SharedMessage {
 public:
  static constexpr size_t kWords = 64;

  // The first one stays.
  void Set(absl::string_view text);
  // Any process. "": none yet.
  std::string Get() const;

 private:
  SharedWord bytes_count_;  // Release: who loads it sees the words.
  SharedWord words_[kWords - 1];
};

// What a thread tells the parent.
struct Seat {
  // Of its journal, in numbers of 4 bytes.
  SharedWord length;
  // 1: connected. Never goes back, whoever has the seat.
  SharedWord is_ready;
  // The last epoch that it has ended. Release: its journal is written.
  SharedWord done_epoch;
  // How its client's reads travel, for people.
  SharedMessage way;
  // Why the thread cannot go on.
  SharedMessage failure;
  // The first failure of a transaction that was no conflict.
  SharedMessage first_error;
};

class Board {
 public:
  // Errors: the kernel's. `journal_numbers`: room of each seat's journal.
  static absl::StatusOr<std::unique_ptr<Board>> Map(size_t seats, uint32_t keys,
                                                    size_t journal_numbers);
  ~Board();
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  size_t seats() const { return seats_; }
  Seat& seat(size_t index) { return seats_at_[index]; }
  absl::Span<uint32_t> journal_room(size_t index);
  // What is written of it. For the parent, while the seat's thread is done or dead.
  absl::Span<const uint32_t> Journal(size_t index);

  // For the parent, while all seats are done: empties the journals and the counters, and begins the
  // epoch.
  void Start(uint32_t epoch);
  // For the parent: the epoch is to end. Epochs of workers are seen by the seats' sessions
  // (SharedNumbers).
  void Stop(uint32_t epoch);
  // Any thread. 0: none has begun.
  uint32_t epoch() const;

  absl::Span<SharedWord> key_counters() { return key_counters_; }
  SharedNumbers numbers();
  // For the janitor, to tell the parent.
  SharedWord& slowest_ns();

 private:
  struct Header {
    SharedWord epoch;  // Release: the journals and counters are empty.
    SharedWord next_process;
    SharedWord begun;
    SharedWord stopped_epoch;
    SharedWord slowest_ns;
  };

  Board(char* memory, size_t bytes, size_t seats, uint32_t keys, size_t journal_numbers);

  char* const memory_;
  const size_t bytes_;
  const size_t seats_;
  const size_t journal_numbers_;
  Header* header_;
  absl::Span<SharedWord> key_counters_;
  Seat* seats_at_;
  uint32_t* journals_;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_BOARD_H_
