// A side as requester: what becomes of a request from Post to its completion.

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "transport/sim/sim_completion_queue.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_queue_pair.h"
#include "transport/sim/sim_side.h"

namespace acre::transport {
namespace {

constexpr uint64_t kLineWords = kLineBytes / kWordBytes;
// Longer ones are not cut into words: it would take an event for each.
constexpr uint32_t kWordByWordWordsMax = 64;

}  // namespace

void SimSide::Post(const WorkRequest& work, SimMemory* local, uint64_t local_index,
                   const uint64_t* inline_words, uint64_t ready_ns) {
  if (sim::Process* const process = network_->world()->current_process()) process->Step();
  if (state_ == QueuePairState::kBroken) return Report(work, CompletionStatus::kFlushed);
  SimRequest* const request = network_->TakeRequest();
  request->work = work;
  request->side = this;
  request->local = local;
  request->local_index = local_index;
  request->ready_ns = ready_ns;
  if (inline_words != nullptr) {
    request->data.assign(inline_words, inline_words + request->words());
    request->is_captured = true;
  }
  network_->Trace("post", number_, static_cast<uint64_t>(work.opcode), work.id);
  outstanding_.PushBack(request);
  to_send_.PushBack(request);
  SendMore();
}

void SimSide::SendMore() {
  while (!to_send_.empty()) {
    SimRequest* const request = to_send_.front();
    if (request->work.fence && reads_under_way_ > 0) return;
    if (request->is_read_or_atomic() && reads_under_way_ >= context_->max_rd_atomic) {
      ++network_->counts().rd_atomic_stalls;
      return;
    }
    to_send_.PopFront();
    Send(request);
  }
}

void SimSide::Send(SimRequest* request) {
  SimCard* const card = network_->card(machine());
  uint64_t cost_ns = kCardRequestNs;
  if (request->is_write()) cost_ns += request->work.length_bytes / kCardBytesPerNs;
  sent_ns_ = std::max({network_->NowNs(), request->ready_ns, sent_ns_, card->free_from_ns});
  card->free_from_ns = sent_ns_ + cost_ns;
  uint64_t arrival_ns = sent_ns_ + cost_ns + network_->WireNs(machine(), peer_->machine());
  if (network_->Draw(network_->faults().slow_queue_pair)) {
    ++network_->counts().slow_requests;
    arrival_ns += network_->DrawNs(network_->faults().slow_queue_pair_ns_max);
    StartTimeout();
  }
  arrival_ns_ = std::max(arrival_ns, arrival_ns_ + 1);
  request->arrival_ns = arrival_ns_;
  if (request->is_read_or_atomic()) ++reads_under_way_;
  to_start_.PushBack(request);
  PumpAt(to_start_.front()->arrival_ns);
}

void SimSide::PumpAt(uint64_t at_ns) {
  at_ns = std::max(at_ns, network_->NowNs());
  if (pump_.scheduled()) {
    if (pump_ns_ <= at_ns) return;
    network_->Cancel(&pump_);
  }
  pump_ns_ = at_ns;
  network_->ScheduleAt(&pump_, at_ns);
}

void SimSide::Pump() {
  while (!to_start_.empty()) {
    SimRequest* const request = to_start_.front();
    if (!CanStart(request)) return;
    to_start_.PopFront();
    Start(request);
  }
}

bool SimSide::CanStart(SimRequest* request) {
  const uint64_t now_ns = network_->NowNs();
  if (request->arrival_ns > now_ns) {
    PumpAt(request->arrival_ns);
    return false;
  }
  if (effect_ != nullptr) {
    // An acknowledged WRITE is pushed out by what follows it, or what follows waits; its end pumps.
    if (!effect_->is_acknowledged || network_->Draw(0.5)) return false;
    ++network_->counts().flushes;
    LandAll(effect_);
  }
  if (peer_->state_ == QueuePairState::kConnecting) return false;  // Greet() pumps.
  if (is_cut_off_ || !CanTell() || !peer_->Serves()) return FailToArrive();
  if (request->work.opcode == Opcode::kWriteWithImm &&
      peer_->receives_ >= peer_->context_->device.receive_queue_depth) {
    if (!std::exchange(waits_for_receive_, true)) ++network_->counts().receive_stalls;
    return false;
  }
  if (request->is_atomic() && Judge(request) == CompletionStatus::kOk &&
      request->memory->atomics_from_ns() > now_ns) {
    PumpAt(request->memory->atomics_from_ns());
    return false;
  }
  if (network_->Draw(network_->faults().lost_connection)) {
    ++network_->counts().lost_connections;
    is_cut_off_ = network_->Draw(0.5);
    if (is_cut_off_) return FailToArrive();
    request->never_answers = true;
  }
  SimCard* const card = network_->card(peer_->machine());
  if (card->free_from_ns > now_ns) {
    PumpAt(card->free_from_ns);
    return false;
  }
  uint64_t cost_ns = request->is_atomic() ? kCardAtomicNs : kCardRequestNs;
  if (request->work.opcode == Opcode::kRead)
    cost_ns += request->work.length_bytes / kCardBytesPerNs;
  card->free_from_ns = now_ns + cost_ns;
  return true;
}

bool SimSide::FailToArrive() {
  if (state_ != QueuePairState::kBroken) {
    StartTimeout();
  } else {
    AbandonRequests(/*may_arrive=*/false);
  }
  return false;
}

void SimSide::OnReceivePolled() {
  CHECK_GT(receives_, 0u);
  --receives_;
  if (peer_ == nullptr || !std::exchange(peer_->waits_for_receive_, false)) return;
  // The sender's card tries again after a while.
  peer_->PumpAt(network_->NowNs() + network_->Vary(kWireNs));
}

void SimSide::Capture(SimRequest* request) {
  if (request->is_captured || !request->is_write()) return;
  request->is_captured = true;
  const uint32_t words = request->words();
  request->data.resize(words);
  if (words == 0 || request->local->words() == nullptr) return;
  for (uint32_t i = 0; i < words; ++i) {
    request->data[i] = request->local->LoadByCard(request->local_index + i);
  }
}

void SimSide::AnswerAt(SimRequest* request, uint64_t at_ns) {
  answer_ns_ = std::max(at_ns, answer_ns_ + 1);
  network_->ScheduleAt(&request->respond_, answer_ns_);
}

void SimSide::OnAnswer(SimRequest* request) {
  if (!request->is_outstanding()) return MaybeGive(request);
  if (!CanHear()) {
    request->is_answer_lost = true;
    return StartTimeout();
  }
  if (request->status == CompletionStatus::kOk && !LandAnswer(request)) return;
  request->is_answered = true;
  Retire();
}

bool SimSide::LandAnswer(SimRequest* request) {
  if (request->is_write() || request->words() == 0) return true;
  SimMemory* const local = request->local;
  if (local->words() == nullptr) return true;
  if (request->is_atomic()) {
    local->StoreByCard(request->local_index, request->old_value);
    return true;
  }
  if (!std::exchange(request->is_landing, true)) {
    PlanPieces(request, request->local_index, network_->faults().split_landing);
  }
  while (!request->pieces.is_done()) {
    const uint64_t delay_ns = Step(request, local, request->local_index, /*samples=*/false);
    if (request->pieces.is_done() || delay_ns == 0) continue;
    network_->ScheduleAt(&request->respond_, network_->NowNs() + delay_ns);
    return false;
  }
  return true;
}

void SimSide::Retire() {
  const bool was_silent = timeout_.scheduled();
  network_->Cancel(&timeout_);
  while (!outstanding_.empty() && outstanding_.front()->is_answered) {
    SimRequest* const request = outstanding_.front();
    if (request->status != CompletionStatus::kOk) {
      return Break(request->status,
                   std::string("a request failed: ") + CompletionStatusName(request->status),
                   /*tells_peer=*/false);
    }
    outstanding_.PopFront();
    if (request->is_read_or_atomic()) --reads_under_way_;
    network_->Trace("done", number_, static_cast<uint64_t>(request->work.opcode), request->work.id);
    if (request->work.signaled) {
      Report(request->work, CompletionStatus::kOk);
    } else {
      ++unsignaled_;
    }
    MaybeGive(request);
  }
  // Nothing was heard of the rest since; whatever it is, time counts anew.
  if (was_silent && !outstanding_.empty()) StartTimeout();
  SendMore();
}

void SimSide::StartTimeout() {
  if (state_ == QueuePairState::kBroken || is_dead_ || timeout_.scheduled()) return;
  const SimFaults& faults = network_->faults();
  const uint64_t delay_ns =
      faults.retry_ns_min + network_->DrawNs(faults.retry_ns_max - faults.retry_ns_min);
  network_->ScheduleAt(&timeout_, network_->NowNs() + delay_ns);
}

void SimSide::OnTimeout() {
  // A receiver with no room says so each time it is asked.
  if (waits_for_receive_) return;
  ++network_->counts().timeouts;
  Break(CompletionStatus::kRetryExceeded, "the peer does not answer", /*tells_peer=*/true);
}

void SimSide::OnLinks() {
  if (peer_ == nullptr || is_dead_) return;
  const uint64_t now_ns = network_->NowNs();
  if (state_ == QueuePairState::kReady) network_->Cancel(&timeout_);
  if (!to_start_.empty()) PumpAt(now_ns + network_->WireNs(machine(), peer_->machine()));
  IntrusiveList<SimRequest, SimOutstandingTag> all;
  all.TakeAll(&outstanding_);
  while (!all.empty()) {
    SimRequest* const request = all.PopFront();
    outstanding_.PushBack(request);
    if (request->never_answers) StartTimeout();
    if (!request->is_answer_lost) continue;
    // The target's card says it once more.
    request->is_answer_lost = false;
    AnswerAt(request, now_ns + network_->WireNs(peer_->machine(), machine()));
  }
}

void SimSide::MaybeGive(SimRequest* request) {
  if (request->is_outstanding() || request->SimRequest::Stage::linked() || request->is_executing ||
      request->respond_.scheduled()) {
    return;
  }
  network_->GiveRequest(request);
}

void SimSide::PlanPieces(SimRequest* request, uint64_t first_index, double split_rate) {
  const SimFaults& faults = network_->faults();
  SimPieces& pieces = request->pieces;
  const uint32_t words = request->words();
  pieces.words = words;
  pieces.piece = 0;
  pieces.word = 0;
  pieces.first_words = words;
  pieces.pieces = words == 0 ? 0 : 1;
  pieces.is_word_by_word = words <= kWordByWordWordsMax && network_->Draw(faults.word_by_word);
  pieces.is_descending = network_->Draw(0.5);
  if (!network_->Draw(split_rate)) return;
  const auto to_line = static_cast<uint32_t>(kLineWords - first_index % kLineWords);
  if (words <= to_line) return;
  const uint32_t rest = words - to_line;
  const auto lines = static_cast<uint32_t>((rest + kLineWords - 1) / kLineWords);
  const uint32_t lines_each = (lines + SimPieces::kPiecesMax - 2) / (SimPieces::kPiecesMax - 1);
  pieces.first_words = to_line;
  pieces.piece_words = static_cast<uint32_t>(lines_each * kLineWords);
  pieces.pieces = 1 + (rest + pieces.piece_words - 1) / pieces.piece_words;
  for (uint32_t i = 0; i < pieces.pieces; ++i) pieces.order[i] = static_cast<uint8_t>(i);
  if (!network_->Draw(faults.any_order)) return;
  for (uint32_t i = pieces.pieces - 1; i > 0; --i) {
    std::swap(pieces.order[i], pieces.order[network_->random().Uniform(i + 1)]);
  }
}

}  // namespace acre::transport
