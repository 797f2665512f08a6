// Whatever bytes a file holds: they are refused with a line and a reason, or they are a history that is written as it
// was read and that the checker comes to an end with.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "client/isolation/checker.h"
#include "client/isolation/history.h"
#include "glog/logging.h"

namespace acre::isolation {
namespace {

void RunOne(absl::string_view text) {
  const absl::StatusOr<History> history = ParseHistory(text);
  if (!history.ok()) {
    CHECK(absl::StartsWith(history.status().message(), "line ")) << history.status();
    return;
  }
  const std::string written = ToText(*history);
  if (!history->transactions.empty()) {
    const absl::StatusOr<History> again = ParseHistory(written);
    CHECK(again.ok()) << again.status() << "\n" << written;
    CHECK_EQ(ToText(*again), written);
  }
  CheckOptions options;
  options.work_max = 1000;
  const absl::StatusOr<Report> report = Check(*history, options);
  if (!report.ok()) return;
  CHECK(!ToText(*report).empty());
  for (const Finding& finding : report->findings) {
    CHECK(!finding.text.empty());
    for (const size_t i : finding.transactions) CHECK_LT(i, history->transactions.size());
  }
}

}  // namespace
}  // namespace acre::isolation

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  acre::isolation::RunOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
