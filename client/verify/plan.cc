#include "client/verify/plan.h"

#include <algorithm>

namespace acre::verify {
namespace {

// Reads of a key that has made way: what was written to it last is seen by somebody, too.
constexpr uint32_t kOldKeyPercent = 15;

}  // namespace

PlannedOp KeyCounters::DrawWrite(Family family, uint32_t place) {
  const uint64_t drawn = WordOf(family, place).FetchAdd(1, std::memory_order_relaxed);
  const auto generation = static_cast<uint32_t>(drawn / options_.writes_per_key);
  PlannedOp op;
  op.kind = family == Family::kList ? isolation::OpKind::kAppend : isolation::OpKind::kWrite;
  op.key = {family, place + generation * options_.keys};
  op.value = static_cast<uint32_t>(drawn % options_.writes_per_key) + 1;
  return op;
}

KeyId KeyCounters::Current(Family family, uint32_t place) const {
  const uint64_t drawn = WordOf(family, place).Load(std::memory_order_relaxed);
  const auto generation = static_cast<uint32_t>(drawn / options_.writes_per_key);
  return {family, place + generation * options_.keys};
}

std::vector<KeyId> KeyCounters::AllKeys() const {
  std::vector<KeyId> keys;
  for (const Family family : {Family::kList, Family::kRegister}) {
    for (uint32_t place = 0; place < options_.keys; ++place) {
      const uint32_t last = Current(family, place).number;
      for (uint32_t number = place; number <= last; number += options_.keys) {
        keys.push_back({family, number});
      }
    }
  }
  return keys;
}

PlanSource::PlanSource(const PlanOptions& options, KeyCounters* counters, uint64_t seed)
    : options_(options), counters_(counters), random_(seed) {}

// The first places are met most: the first of 16 by every fourth operation.
uint32_t PlanSource::DrawPlace() {
  const double x = random_.NextDouble();
  return static_cast<uint32_t>(x * x * options_.keys);
}

Family PlanSource::DrawFamily(uint32_t mix) {
  if (!options_.registers) return Family::kList;
  if (!options_.lists) return Family::kRegister;
  if (mix < 2) return mix == 0 ? Family::kList : Family::kRegister;
  return random_.Uniform(2) == 0 ? Family::kList : Family::kRegister;
}

PlannedOp PlanSource::DrawRead(Family family) {
  PlannedOp op;
  op.key = counters_->Current(family, DrawPlace());
  if (op.key.number >= options_.keys && Chance(kOldKeyPercent)) op.key.number -= options_.keys;
  return op;
}

// Only what one Get or Put does: registers, and reads of lists that stay in their place.
void PlanSource::DrawPlain(Plan* plan) {
  plan->way = Way::kPlain;
  const Family family = DrawFamily(/*mix=*/2);
  if (family == Family::kRegister && Chance(50)) {
    plan->ops.push_back(counters_->DrawWrite(family, DrawPlace()));
    return;
  }
  PlannedOp op = DrawRead(family);
  if (IsMoving(op.key)) plan->way = Way::kOnce;
  plan->ops.push_back(op);
}

bool PlanSource::Draw(Plan* plan) {
  plan->ops.clear();
  plan->reads_at_once = Chance(50);
  plan->pauses = Chance(30);
  if (Chance(options_.plain_percent)) {
    DrawPlain(plan);
    return true;
  }
  plan->way = Chance(options_.retried_percent) ? Way::kRetried : Way::kOnce;
  const bool is_read_only = Chance(options_.read_only_percent);
  // Of lists, of registers, or of both: anomalies do not stop at what kind a record is.
  const auto mix = static_cast<uint32_t>(random_.Uniform(3));
  const size_t size = 1 + random_.Uniform(options_.ops_max);
  while (plan->ops.size() < size) {
    const Family family = DrawFamily(mix);
    if (is_read_only || Chance(50)) {
      plan->ops.push_back(DrawRead(family));
      continue;
    }
    const PlannedOp write = counters_->DrawWrite(family, DrawPlace());
    // A register that is read and then written tells the order of its versions; a blind write does
    // not.
    if (family == Family::kRegister && plan->ops.size() + 1 < size && Chance(60)) {
      plan->ops.push_back({.kind = isolation::OpKind::kRead, .key = write.key});
    }
    plan->ops.push_back(write);
  }
  return true;
}

void PlanSource::DrawAgain(Plan* plan) {
  for (PlannedOp& op : plan->ops) {
    if (op.kind == isolation::OpKind::kRead) continue;
    op = counters_->DrawWrite(op.key.family, op.key.number % options_.keys);
  }
}

bool ReadEach::Draw(Plan* plan) {
  constexpr size_t kKeysAtOnce = 4;
  plan->way = Way::kRetried;
  plan->reads_at_once = true;
  plan->pauses = false;
  plan->ops.clear();
  while (next_ < keys_.size() && plan->ops.size() < kKeysAtOnce) {
    plan->ops.push_back({.kind = isolation::OpKind::kRead, .key = keys_[next_++]});
  }
  return !plan->ops.empty();
}

}  // namespace acre::verify
