// What kv_verify tells of a run: in words, and as JSON.

#ifndef ACRE_CLIENT_VERIFY_REPORT_H_
#define ACRE_CLIENT_VERIFY_REPORT_H_

#include <string>

#include "client/verify/campaign.h"

namespace acre::verify {

// "PASS: ..." or "FAIL: ...", and what stands behind it.
std::string ToText(const Verdict& verdict, const CampaignOptions& options);

// One object: verdict ("pass", "fail"), violation, findings, history, transactions, ok, fail, info,
// aborts (by phase), errors (by status), transactions_per_second, epochs, kills,
// slowest_recovery_ms (null: none was killed), load_seconds, judging_seconds, way, processes,
// threads, outstanding.
std::string ToJson(const Verdict& verdict, const CampaignOptions& options);

}  // namespace acre::verify

#endif  // ACRE_CLIENT_VERIFY_REPORT_H_
