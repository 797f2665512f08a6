// The pair: a handshake with a `kv_doctor --serve` and 1 MiB each way, on each fabric.

#ifndef ACRE_SERVER_DOCTOR_PAIR_CHECKS_H_
#define ACRE_SERVER_DOCTOR_PAIR_CHECKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/clock.h"
#include "server/doctor/check.h"
#include "transport/secret_proof.h"
#include "transport/socket.h"

namespace acre::doctor {

struct PairOptions {
  Clock* clock = nullptr;  // Outlives the call.
  transport::HostPort peer;
  std::vector<std::string> fabrics;  // As of --fabric.
  std::string device = {};
  transport::Credentials credentials = {};
  uint64_t timeout_ns = 15'000'000'000;  // For each fabric.
};

// Connects on each of our fabrics in turn. BAD: one that both sides have does not work; they have none in
// common; one that was named is missing at the peer.
void CheckPair(const PairOptions& options, Findings* findings);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_PAIR_CHECKS_H_
