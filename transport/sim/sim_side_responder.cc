// A side as responder: how its card executes the requests of the peer. All functions here are called on
// the requester's side, whose peer_ is the target.

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "transport/provider_rules.h"
#include "transport/sim/sim_completion_queue.h"
#include "transport/sim/sim_costs.h"
#include "transport/sim/sim_queue_pair.h"
#include "transport/sim/sim_side.h"

namespace acre::transport {

CompletionStatus SimSide::Judge(SimRequest* request) const {
  const WorkRequest& work = request->work;
  if (request->is_atomic() && peer_->context_->atomic_domain != context_->atomic_domain) {
    return CompletionStatus::kAtomicDomain;
  }
  const uint32_t length_bytes = LengthOf(work);
  if (length_bytes == 0) return CompletionStatus::kOk;
  const GrantMade* const found = peer_->FindGrant(work.remote_key);
  if (found == nullptr || !found->memory->is_open()) return CompletionStatus::kBadKey;
  if ((found->rights & RightFor(work.opcode)) == 0) return CompletionStatus::kAccess;
  if (!IsInBounds(work.remote_offset_bytes, length_bytes, found->memory->size_bytes())) {
    return CompletionStatus::kBounds;
  }
  request->memory = found->memory;
  request->target_index = work.remote_offset_bytes / kWordBytes;
  return CompletionStatus::kOk;
}

void SimSide::Start(SimRequest* request) {
  SimCounts& counts = network_->counts();
  ++counts.requests;
  if (state_ == QueuePairState::kBroken) ++counts.late_executions;
  network_->Trace("start", number_, static_cast<uint64_t>(request->work.opcode), request->work.id);
  FlushAcknowledged(network_->card(peer_->machine()));
  request->is_executing = true;
  const bool is_read = request->work.opcode == Opcode::kRead;
  if (is_read) ++reads_executing_;
  const CompletionStatus status = Judge(request);
  if (status != CompletionStatus::kOk) return Refuse(request, status);
  if (reads_executing_ > 0 && !is_read) ++counts.overtaken_reads;
  switch (request->work.opcode) {
    case Opcode::kRead:
      return StartRead(request);
    case Opcode::kWrite:
    case Opcode::kWriteWithImm:
      return StartWrite(request);
    case Opcode::kCompareSwap:
    case Opcode::kFetchAdd:
      return StartAtomic(request);
  }
}

void SimSide::StartRead(SimRequest* request) {
  const SimFaults& faults = network_->faults();
  PlanPieces(request, request->target_index, faults.split_read);
  if (request->pieces.pieces > 1 || request->pieces.is_word_by_word) {
    ++network_->counts().split_reads;
  }
  request->data.resize(request->words());
  if (!network_->Draw(faults.late_read)) return Execute(request);
  ++network_->counts().late_reads;
  network_->ScheduleAt(&request->execute_,
                       network_->NowNs() + network_->DrawNs(faults.late_read_ns_max));
}

void SimSide::StartWrite(SimRequest* request) {
  const SimFaults& faults = network_->faults();
  Capture(request);
  PlanPieces(request, request->target_index, faults.split_write);
  if (request->pieces.pieces > 1 || request->pieces.is_word_by_word) {
    ++network_->counts().split_writes;
  }
  if (request->work.opcode == Opcode::kWriteWithImm) ++peer_->receives_;
  effect_ = request;
  if (request->words() == 0 || !network_->Draw(faults.early_ack)) return Execute(request);
  ++network_->counts().early_acks;
  request->is_acknowledged = true;
  network_->card(peer_->machine())->acked.PushBack(request);
  network_->ScheduleAt(&request->execute_,
                       network_->NowNs() + network_->DrawNs(faults.visibility_ns_max));
  Answer(request, CompletionStatus::kOk);
}

void SimSide::StartAtomic(SimRequest* request) {
  const SimFaults& faults = network_->faults();
  SimMemory* const memory = request->memory;
  request->old_value = memory->LoadByCard(request->target_index);
  effect_ = request;
  if (memory->atomicity() == Atomicity::kGlobal || !network_->Draw(faults.split_atomic)) {
    return StoreAtomic(request);
  }
  ++network_->counts().split_atomics;
  const uint64_t store_ns = network_->NowNs() + 1 + network_->DrawNs(faults.atomic_window_ns_max);
  memory->HoldAtomicsUntil(store_ns + 1);
  network_->ScheduleAt(&request->execute_, store_ns);
}

void SimSide::StoreAtomic(SimRequest* request) {
  const uint64_t old_value = request->old_value;
  if (request->work.opcode == Opcode::kFetchAdd) {
    request->memory->StoreByCard(request->target_index, old_value + request->work.swap_or_add);
  } else if (old_value == request->work.compare) {
    request->memory->StoreByCard(request->target_index, request->work.swap_or_add);
  } else if (request->memory->atomicity() == Atomicity::kHca &&
             network_->Draw(network_->faults().write_back)) {
    if (request->memory->LoadByCard(request->target_index) != old_value) {
      ++network_->counts().writes_back;
    }
    request->memory->StoreByCard(request->target_index, old_value);
  }
  request->is_executed = true;
  EndExecution(request);
  Answer(request, CompletionStatus::kOk);
}

void SimSide::Execute(SimRequest* request) {
  if (!peer_->Serves()) return Stop(request);
  if (request->memory != nullptr && !request->memory->is_open()) {
    return Refuse(request, CompletionStatus::kBadKey);
  }
  if (request->is_atomic()) return StoreAtomic(request);
  const bool is_read = request->work.opcode == Opcode::kRead;
  while (!request->pieces.is_done()) {
    const uint64_t delay_ns = Step(request, request->memory, request->target_index, is_read);
    if (request->pieces.is_done() || delay_ns == 0) continue;
    network_->ScheduleAt(&request->execute_, network_->NowNs() + delay_ns);
    return;
  }
  if (is_read) {
    FinishRead(request);
  } else {
    FinishWrite(request);
  }
}

uint64_t SimSide::Step(SimRequest* request, SimMemory* memory, uint64_t first_index, bool samples) {
  SimPieces& pieces = request->pieces;
  const uint32_t index = pieces.pieces == 1 ? 0 : pieces.order[pieces.piece];
  uint32_t begin = pieces.Begin(index);
  uint32_t end = pieces.End(index);
  const uint32_t words = end - begin;
  if (pieces.is_word_by_word) {
    begin = pieces.is_descending ? end - 1 - pieces.word : begin + pieces.word;
    end = begin + 1;
  }
  for (uint32_t i = begin; i < end; ++i) {
    if (samples) {
      request->data[i] = memory->LoadByCard(first_index + i);
    } else {
      memory->StoreByCard(first_index + i, request->data[i]);
    }
  }
  if (pieces.is_word_by_word && ++pieces.word < words) {
    return network_->DrawNs(network_->faults().word_ns_max);
  }
  pieces.word = 0;
  ++pieces.piece;
  return network_->DrawNs(network_->faults().line_ns_max);
}

void SimSide::FinishRead(SimRequest* request) {
  request->is_executed = true;
  EndExecution(request);
  Answer(request, CompletionStatus::kOk);
}

void SimSide::FinishWrite(SimRequest* request) {
  request->is_executed = true;
  if (request->work.opcode == Opcode::kWriteWithImm && peer_->handle_ != nullptr) {
    peer_->queue_->Push({.kind = CompletionKind::kReceive,
                         .opcode = Opcode::kWriteWithImm,
                         .immediate = request->work.immediate,
                         .length_bytes = request->work.length_bytes,
                         .queue_pair = peer_->handle_},
                        0);
  }
  const bool is_acknowledged = request->is_acknowledged;
  EndExecution(request);
  if (is_acknowledged) {
    MaybeGive(request);
  } else {
    Answer(request, CompletionStatus::kOk);
  }
}

void SimSide::LandAll(SimRequest* request) {
  network_->Cancel(&request->execute_);
  if (!peer_->Serves() || !request->memory->is_open()) return Stop(request);
  while (!request->pieces.is_done()) {
    Step(request, request->memory, request->target_index, /*samples=*/false);
  }
  FinishWrite(request);
}

void SimSide::FlushAcknowledged(SimCard* card) {
  if (card->acked.empty()) return;
  IntrusiveList<SimRequest, SimStageTag> all;
  all.TakeAll(&card->acked);
  while (!all.empty()) {
    SimRequest* const request = all.PopFront();
    if (request->is_outstanding()) {
      card->acked.PushBack(request);
      continue;
    }
    ++network_->counts().flushes;
    request->side->LandAll(request);
  }
}

void SimSide::Answer(SimRequest* request, CompletionStatus status) {
  request->status = status;
  if (!request->is_outstanding()) return MaybeGive(request);
  if (request->never_answers) return StartTimeout();
  uint64_t delay_ns = network_->WireNs(peer_->machine(), machine());
  if (request->work.opcode == Opcode::kRead) {
    delay_ns += request->work.length_bytes / kCardBytesPerNs;
  }
  AnswerAt(request, network_->NowNs() + delay_ns);
}

void SimSide::Refuse(SimRequest* request, CompletionStatus status) {
  network_->Trace("refuse", number_, static_cast<uint64_t>(status), request->work.id);
  const bool is_acknowledged = request->is_acknowledged;
  EndExecution(request);
  if (is_acknowledged) return MaybeGive(request);  // It was told already; what landed has landed.
  // What follows it never starts. Our own side learns of it by the answer.
  while (!to_start_.empty()) MaybeGive(to_start_.PopFront());
  peer_->Break(CompletionStatus::kFlushed,
               std::string("a request of the peer failed: ") + CompletionStatusName(status),
               /*tells_peer=*/false);
  Answer(request, status);
}

void SimSide::Stop(SimRequest* request) {
  network_->Cancel(&request->execute_);
  EndExecution(request);
  if (request->is_outstanding() && !request->is_acknowledged) {
    request->never_answers = true;
    StartTimeout();
  }
  MaybeGive(request);
}

void SimSide::EndExecution(SimRequest* request) {
  request->is_executing = false;
  request->Stage::Unlink();
  if (request->work.opcode == Opcode::kRead) --reads_executing_;
  if (effect_ != request) return;
  effect_ = nullptr;
  if (!to_start_.empty()) PumpAt(network_->NowNs());
}

}  // namespace acre::transport
