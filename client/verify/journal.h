// Journal: what one thread asked for and was told, in memory that outlives its process.
//
// A process may be killed between any two instructions, and what it had begun must still be known:
// an invocation is in the journal before the call is made, a return after it. The memory is shared
// with a process that reads it afterwards (board.h); a record is there once the journal's length
// says so, which is written last. Two records a transaction, no system call, no lock: some 100 ns.
//
// Threads: a JournalWriter is confined to one. Readers read while nobody writes: the writer has said that it is done, or
//          it is dead. The length alone may be read at any time.

#ifndef ACRE_CLIENT_VERIFY_JOURNAL_H_
#define ACRE_CLIENT_VERIFY_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/isolation/history.h"
#include "client/verify/plan.h"
#include "client/verify/store.h"
#include "runtime/shared_word.h"

namespace acre::verify {

// What an operation of a transaction was told. Of a register one number.
struct Told {
  isolation::Seen seen = isolation::Seen::kUntold;
  std::vector<int32_t> numbers;
};

// How a transaction ended.
struct Ending {
  isolation::Outcome outcome = isolation::Outcome::kUnknown;
  uint8_t phase = 0;  // StoreTransaction::abort_phase().
  absl::StatusCode code = absl::StatusCode::kOk;
};

class JournalWriter {
 public:
  // Goes on behind what is there. `length`: in units of 4 bytes, how much of `room` is written.
  // Both outlive this.
  JournalWriter(SharedWord* length, absl::Span<uint32_t> room);

  // Room for all records of so many more transactions, if none has more operations, and none of
  // those sees more than kWritesPerKeyMax numbers.
  bool HasRoomFor(size_t transactions, uint32_t ops_max) const;
  // Requires: room.
  void Invoke(uint32_t process, uint64_t now_ns, const std::vector<PlannedOp>& ops);
  // `told`: one for each operation.
  void Return(uint32_t process, uint64_t now_ns, const Ending& ending,
              const std::vector<Told>& told);

 private:
  void Append(uint32_t number) { room_[at_++] = number; }
  void Begin(uint32_t head, uint32_t process, uint64_t now_ns);
  void Publish();

  // Only the writer stores it; release: who loads it sees the records below.
  SharedWord* const length_;
  const absl::Span<uint32_t> room_;
  size_t at_;
};

struct JournalEvent {
  bool is_return = false;
  uint32_t process = 0;
  uint64_t time_ns = 0;
  std::vector<PlannedOp> ops;  // Of an invocation.
  Ending ending;               // Of a return, and so
  std::vector<Told> told;
};

// Reads events one after the other.
class JournalReader {
 public:
  // `journal` outlives this.
  explicit JournalReader(absl::Span<const uint32_t> journal) : journal_(journal) {}

  // Replaces *event. False: there are no more.
  // DataLoss: this was written by nobody's JournalWriter.
  absl::StatusOr<bool> Next(JournalEvent* event);

 private:
  bool Take(uint32_t* number);
  bool TakeOps(uint32_t count, JournalEvent* event);
  bool TakeTold(uint32_t count, JournalEvent* event);

  const absl::Span<const uint32_t> journal_;
  size_t at_ = 0;
};

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_JOURNAL_H_
