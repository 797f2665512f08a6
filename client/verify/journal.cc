#include "client/verify/journal.h"

#include <utility>

#include "glog/logging.h"

namespace acre::verify {
namespace {

// A record: its head, the process, the time in two halves, and then
//   of an invocation, for each operation: kind and family, key, value;
//   of a return, for each operation: what was seen and how many numbers, and these.
// Head: operations in the low byte; then whether it is a return, outcome, phase and status code, 4, 4, 4 and 8 bits.
constexpr size_t kHeadNumbers = 4;
constexpr size_t kOpNumbers = 3;

struct Head {
  uint32_t ops = 0;
  bool is_return = false;
  Ending ending = {};
};

uint32_t Pack(const Head& head) {
  return head.ops | (head.is_return ? 1u : 0u) << 8 |
         static_cast<uint32_t>(head.ending.outcome) << 12 | uint32_t{head.ending.phase} << 16 |
         static_cast<uint32_t>(head.ending.code) << 20;
}

// False: nobody packs this.
bool Unpack(uint32_t number, Head* head) {
  head->ops = number & 255;
  head->is_return = (number >> 8 & 15) == 1;
  const uint32_t outcome = number >> 12 & 15;
  const uint32_t phase = number >> 16 & 15;
  head->ending.outcome = static_cast<isolation::Outcome>(outcome);
  head->ending.phase = static_cast<uint8_t>(phase);
  head->ending.code = static_cast<absl::StatusCode>(number >> 20 & 255);
  return (number >> 8 & 15) <= 1 && number >> 28 == 0 && phase < kPhasesMax &&
         outcome <= static_cast<uint32_t>(isolation::Outcome::kUnknown);
}

}  // namespace

JournalWriter::JournalWriter(SharedWord* length, absl::Span<uint32_t> room)
    : length_(length), room_(room), at_(length->Load(std::memory_order_relaxed)) {
  CHECK_LE(at_, room_.size());
}

bool JournalWriter::HasRoomFor(size_t transactions, uint32_t ops_max) const {
  const size_t each = 2 * kHeadNumbers + ops_max * (kOpNumbers + 1 + size_t{kWritesPerKeyMax});
  return (room_.size() - at_) / each >= transactions;
}

void JournalWriter::Begin(uint32_t head, uint32_t process, uint64_t now_ns) {
  Append(head);
  Append(process);
  Append(static_cast<uint32_t>(now_ns));
  Append(static_cast<uint32_t>(now_ns >> 32));
}

void JournalWriter::Publish() { length_->Store(at_, std::memory_order_release); }

void JournalWriter::Invoke(uint32_t process, uint64_t now_ns, const std::vector<PlannedOp>& ops) {
  CHECK_LE(at_ + kHeadNumbers + ops.size() * kOpNumbers, room_.size());
  Begin(Pack({.ops = static_cast<uint32_t>(ops.size())}), process, now_ns);
  for (const PlannedOp& op : ops) {
    Append(static_cast<uint32_t>(op.kind) | static_cast<uint32_t>(op.key.family) << 8);
    Append(op.key.number);
    Append(op.value);
  }
  Publish();
}

void JournalWriter::Return(uint32_t process, uint64_t now_ns, const Ending& ending,
                           const std::vector<Told>& told) {
  size_t numbers = kHeadNumbers + told.size();
  for (const Told& one : told) numbers += one.numbers.size();
  CHECK_LE(at_ + numbers, room_.size());
  Begin(Pack({.ops = static_cast<uint32_t>(told.size()), .is_return = true, .ending = ending}),
        process, now_ns);
  for (const Told& one : told) {
    Append(static_cast<uint32_t>(one.seen) | static_cast<uint32_t>(one.numbers.size()) << 8);
    for (const int32_t number : one.numbers) Append(static_cast<uint32_t>(number));
  }
  Publish();
}

bool JournalReader::Take(uint32_t* number) {
  if (at_ >= journal_.size()) return false;
  *number = journal_[at_++];
  return true;
}

bool JournalReader::TakeOps(uint32_t count, JournalEvent* event) {
  event->ops.resize(count);
  for (PlannedOp& op : event->ops) {
    uint32_t kind = 0;
    if (!Take(&kind) || !Take(&op.key.number) || !Take(&op.value)) return false;
    if ((kind & 255) > static_cast<uint32_t>(isolation::OpKind::kAppend)) return false;
    if (kind >> 8 > static_cast<uint32_t>(Family::kRegister)) return false;
    op.kind = static_cast<isolation::OpKind>(kind & 255);
    op.key.family = static_cast<Family>(kind >> 8);
  }
  return true;
}

bool JournalReader::TakeTold(uint32_t count, JournalEvent* event) {
  event->told.resize(count);
  for (Told& told : event->told) {
    uint32_t head = 0;
    if (!Take(&head)) return false;
    const uint32_t numbers = head >> 8;
    if ((head & 255) > static_cast<uint32_t>(isolation::Seen::kList)) return false;
    if (numbers > journal_.size() - at_) return false;
    told.seen = static_cast<isolation::Seen>(head & 255);
    if (told.seen == isolation::Seen::kValue && numbers != 1) return false;
    told.numbers.resize(numbers);
    for (int32_t& number : told.numbers) number = static_cast<int32_t>(journal_[at_++]);
  }
  return true;
}

absl::StatusOr<bool> JournalReader::Next(JournalEvent* event) {
  if (at_ == journal_.size()) return false;
  const absl::Status broken = absl::DataLossError("a journal holds what nobody writes");
  uint32_t first = 0;
  uint32_t low = 0;
  uint32_t high = 0;
  Head head;
  if (!Take(&first) || !Take(&event->process) || !Take(&low) || !Take(&high)) return broken;
  if (!Unpack(first, &head)) return broken;
  event->is_return = head.is_return;
  event->time_ns = uint64_t{high} << 32 | low;
  event->ending = head.ending;
  const bool is_whole = head.is_return ? TakeTold(head.ops, event) : TakeOps(head.ops, event);
  if (!is_whole) return broken;
  return true;
}

}  // namespace acre::verify
