// PutJudge: which way a Put goes when nobody has said: by RPC, or one-sided. Both lead to the same result; which of them
// takes less time depends on the network, on how busy the server's CPU is, and on who else wants the same records. So
// it is measured: most Puts go the way that was quicker of late, one in kTryEvery the other one.
//
// Threads: confined to one.

#ifndef ACRE_CLIENT_PUT_JUDGE_H_
#define ACRE_CLIENT_PUT_JUDGE_H_

#include <cstdint>

namespace acre {

class PutJudge {
 public:
  // Puts by RPC before the other way is tried at all: it takes connections and memory to begin with.
  static constexpr uint64_t kPutsBeforeTry = 1024;
  static constexpr uint64_t kTryEvery = 64;

  // Whether the next one goes one-sided.
  bool OneSided() {
    ++puts_;
    if (puts_ <= kPutsBeforeTry) return false;
    const bool is_quicker = one_sided_.count != 0 && one_sided_.mean < rpc_.mean;
    return is_quicker != (puts_ % kTryEvery == 0);
  }
  // How long it took, in any unit: of Puts of one kind, that were done.
  void Note(bool one_sided, uint64_t took) { (one_sided ? one_sided_ : rpc_).Add(took); }

 private:
  // A mean in which older ones count less and less.
  struct Mean {
    static constexpr double kShare = 1.0 / 16;

    void Add(uint64_t value) {
      const auto added = static_cast<double>(value);
      mean = count++ == 0 ? added : mean + (added - mean) * kShare;
    }
    uint64_t count = 0;
    double mean = 0;
  };

  uint64_t puts_ = 0;
  Mean rpc_;
  Mean one_sided_;
};

}  // namespace acre

#endif  // ACRE_CLIENT_PUT_JUDGE_H_
