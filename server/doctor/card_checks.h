// The cards: what they are, whether their ports have a link, whether rdma_cm finds them.

#ifndef ACRE_SERVER_DOCTOR_CARD_CHECKS_H_
#define ACRE_SERVER_DOCTOR_CARD_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "server/doctor/check.h"
#include "transport/verbs/verbs_report.h"

namespace acre::doctor {

// `is_wanted`: the user wants verbs, so that a machine without a card is BAD. `device`: that one card or address
// only is of interest, as in --device; "": all. `memory_bytes`: of the server that shall run here.
// `root`: above /sys, "" but for tests: the network interface of a port, and cards that libibverbs misses.
void CheckCards(const std::string& root, const transport::VerbsReport& report, bool is_wanted,
                absl::string_view device, uint64_t memory_bytes, Findings* findings);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_CARD_CHECKS_H_
