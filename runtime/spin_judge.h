// SpinJudge: whether it pays to spin for a moment before going to sleep.
//
// A thread that spins is there when something comes; one that sleeps has to be woken, which takes ten
// microseconds and more. But where things come later than a spin reaches, it is a waste, and on busy cores
// of the time of the very thread that is waited for. Either lasts for a while as a rule, so the past tells:
// the caller is to spin while about a quarter of the latest spins paid; else one wait in 32 tries it, and
// the next ones too while that pays.
//
//   if (judge.ShouldSpin()) {
//     const bool paid = ...;  // What was waited for came within reach of the spin.
//     judge.Report(paid);
//     if (paid) return;
//   }
//   Sleep();
//
// Threads: one.

#ifndef ACRE_RUNTIME_SPIN_JUDGE_H_
#define ACRE_RUNTIME_SPIN_JUDGE_H_

#include <cstdint>

namespace acre {

class SpinJudge {
 public:
  // A wait begins.
  bool ShouldSpin() {
    if (score_ >= kScoreToSpin || waits_till_try_ == 0) return true;
    --waits_till_try_;
    return false;
  }

  // How a spin ended. A wait that turned out to be none need not be reported.
  void Report(bool paid) {
    if (paid) {
      score_ += (kScoreMax - score_) / kWeight;
      waits_till_try_ = 0;
    } else {
      score_ -= score_ / kWeight;
      waits_till_try_ = kWaitsPerTry - 1;
    }
  }

 private:
  static constexpr uint32_t kScoreMax = 1024;  // All paid.
  static constexpr uint32_t kScoreToSpin = kScoreMax / 4;
  static constexpr uint32_t kWeight = 8;  // The last one counts for an eighth.
  static constexpr uint32_t kWaitsPerTry = 32;

  uint32_t score_ = kScoreMax;
  uint32_t waits_till_try_ = 0;
};

}  // namespace acre

#endif  // ACRE_RUNTIME_SPIN_JUDGE_H_
