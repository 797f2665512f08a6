// SimRequest: a work request on its way through the simulated network.

#ifndef ACRE_TRANSPORT_SIM_SIM_REQUEST_H_
#define ACRE_TRANSPORT_SIM_SIM_REQUEST_H_

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/intrusive_list.h"
#include "transport/fabric.h"
#include "transport/provider_rules.h"
#include "transport/sim/sim_event.h"
#include "transport/sim/sim_memory.h"

namespace acre::transport {

class SimSide;

struct SimOutstandingTag;
struct SimStageTag;

// In which order a READ or WRITE touches the target's words: pieces of whole lines, in an order of their
// own; the words of a piece together, or one by one, up or down.
struct SimPieces {
  static constexpr uint32_t kPiecesMax = 64;

  uint32_t words = 0;
  uint32_t first_words = 0;  // Of the first piece, up to the first line boundary behind it.
  uint32_t piece_words = 0;  // Of all others, but for the last.
  uint32_t pieces = 0;
  bool is_word_by_word = false;
  bool is_descending = false;
  std::array<uint8_t, kPiecesMax> order;  // Valid if there is more than one.
  // Where it is.
  uint32_t piece = 0;
  uint32_t word = 0;  // Within the piece.

  bool is_done() const { return piece == pieces; }
  uint32_t Begin(uint32_t index) const {
    return index == 0 ? 0 : first_words + (index - 1) * piece_words;
  }
  uint32_t End(uint32_t index) const { return index + 1 == pieces ? words : Begin(index + 1); }
};

// Lives in two ways: it is outstanding until its initiator was told, and under way until the target's
// card is done with it. Either may end first. Then it goes back to the network's pool.
//
// Its stage: to be sent (on its side's list) -> to be started (likewise) -> executing -> executed. A
// WRITE that was acknowledged before it landed is on the target card's list while it executes.
class SimRequest final : public ListLink<SimOutstandingTag>, public ListLink<SimStageTag> {
 public:
  SimRequest() : execute_(this), respond_(this) {}

  using Outstanding = ListLink<SimOutstandingTag>;
  using Stage = ListLink<SimStageTag>;

  bool is_outstanding() const { return Outstanding::linked(); }
  bool is_atomic() const { return IsAtomic(work.opcode); }
  bool is_write() const { return IsWrite(work.opcode); }
  bool is_read_or_atomic() const { return !is_write(); }
  uint32_t words() const { return LengthOf(work) / kWordBytes; }

  WorkRequest work;
  SimSide* side = nullptr;      // The initiator's.
  SimMemory* local = nullptr;   // Null: inline bytes, or none.
  uint64_t local_index = 0;     // Of the first word in `local`.
  SimMemory* memory = nullptr;  // The target, once it is known.
  uint64_t target_index = 0;
  CompletionStatus status = CompletionStatus::kOk;
  // The initiator's card hears of it no sooner: its bytes are in memory by then.
  uint64_t ready_ns = 0;
  uint64_t arrival_ns = 0;
  bool is_captured = false;  // `data` holds what is to be written.
  bool is_executing = false;
  bool is_executed = false;  // The target's memory is as it asked for.
  bool is_acknowledged = false;
  bool is_landing = false;   // What it brought is being stored.
  bool is_answered = false;  // The answer has arrived.
  bool is_answer_lost = false;
  bool never_answers = false;
  uint64_t old_value = 0;      // Of an atomic.
  SimPieces pieces;            // Of its execution; then of the landing of what it brought.
  std::vector<uint64_t> data;  // What was sampled, or is to land.

 private:
  friend class SimNetwork;
  friend class SimSide;

  // The next step of its execution at the target.
  void Execute();
  // The answer arrives at the initiator.
  void Respond();

  SimEvent<SimRequest, &SimRequest::Execute> execute_;
  SimEvent<SimRequest, &SimRequest::Respond> respond_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SIM_SIM_REQUEST_H_
