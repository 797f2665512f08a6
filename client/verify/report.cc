#include "client/verify/report.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/transaction.h"
#include "nlohmann/json.hpp"

namespace acre::verify {
namespace {

constexpr auto kLastPhase = static_cast<size_t>(AbortReason::Phase::kFenced);

double Seconds(uint64_t ns) { return static_cast<double>(ns) * 1e-9; }

double PerSecond(const Verdict& verdict) {
  if (verdict.load_ns == 0) return 0;
  return static_cast<double>(verdict.counts.transactions) / Seconds(verdict.load_ns);
}

std::string NameOfPhase(size_t phase) {
  // RunTransaction() does not tell which it was.
  return phase == 0 ? "retried" : AbortPhaseName(static_cast<AbortReason::Phase>(phase));
}

// Why transactions failed, the counts that are not 0.
std::string Failures(const Counts& counts) {
  std::vector<std::string> parts;
  for (size_t i = 0; i <= kLastPhase; ++i) {
    if (counts.aborts[i] != 0) parts.push_back(absl::StrCat(NameOfPhase(i), " ", counts.aborts[i]));
  }
  for (const auto& [code, count] : counts.errors) {
    parts.push_back(absl::StrCat(absl::StatusCodeToString(code), " ", count));
  }
  return parts.empty() ? "" : absl::StrCat(" (", absl::StrJoin(parts, ", "), ")");
}

}  // namespace

std::string ToText(const Verdict& verdict, const CampaignOptions& options) {
  const Counts& counts = verdict.counts;
  std::string text = verdict.violation;
  if (!verdict.findings.empty()) {
    absl::StrAppend(&text, "\nAll that was found: ", absl::StrJoin(verdict.findings, ", "), ".\n");
  }
  if (!verdict.passes) {
    absl::StrAppend(&text, "\nThe history is in ", verdict.history_path);
    if (!verdict.excerpt_path.empty()) {
      absl::StrAppend(&text, ", what belongs to the example in ", verdict.excerpt_path);
    }
    text += ": check_isolation judges them again.\n\n";
  }
  const std::string level(isolation::NameOf(options.level));
  absl::StrAppendFormat(&text, "%s: %d transactions of %d operations in %.1f s, %.0f a second\n",
                        verdict.passes             ? "PASS: " + level
                        : verdict.findings.empty() ? std::string("FAIL: a lock was left")
                                                   : "FAIL: not " + level,
                        counts.transactions, counts.operations, Seconds(verdict.load_ns),
                        PerSecond(verdict));
  absl::StrAppendFormat(&text, "  ok %d, fail %d%s, info %d\n", counts.committed, counts.failed,
                        Failures(counts), counts.unknown);
  absl::StrAppendFormat(&text, "  %d processes of %d threads of %d transactions at a time, %s\n",
                        options.processes, options.threads, options.outstanding, verdict.way);
  absl::StrAppendFormat(&text, "  %d epochs, judged in %.1f s\n", verdict.epochs,
                        Seconds(verdict.judging_ns));
  if (options.kills) {
    absl::StrAppendFormat(
        &text, "  %d client processes killed; their keys could be had after %.0f ms at most\n",
        verdict.kills, Seconds(verdict.slowest_recovery_ns) * 1e3);
  }
  if (!verdict.first_error.empty()) {
    absl::StrAppend(&text, "  the first failure that was no conflict: ", verdict.first_error, "\n");
  }
  return text;
}

std::string ToJson(const Verdict& verdict, const CampaignOptions& options) {
  const Counts& counts = verdict.counts;
  nlohmann::json json = {{"verdict", verdict.passes ? "pass" : "fail"},
                         {"level", std::string(isolation::NameOf(options.level))},
                         {"violation", verdict.violation},
                         {"findings", verdict.findings},
                         {"history", verdict.history_path},
                         {"excerpt", verdict.excerpt_path},
                         {"way", verdict.way},
                         {"transactions", counts.transactions},
                         {"operations", counts.operations},
                         {"ok", counts.committed},
                         {"fail", counts.failed},
                         {"info", counts.unknown},
                         {"aborts", nlohmann::json::object()},
                         {"errors", nlohmann::json::object()},
                         {"first_error", verdict.first_error},
                         {"transactions_per_second", PerSecond(verdict)},
                         {"epochs", verdict.epochs},
                         {"kills", verdict.kills},
                         {"slowest_recovery_ms", nullptr},
                         {"load_seconds", Seconds(verdict.load_ns)},
                         {"judging_seconds", Seconds(verdict.judging_ns)},
                         {"processes", options.processes},
                         {"threads", options.threads},
                         {"outstanding", options.outstanding}};
  for (size_t i = 0; i <= kLastPhase; ++i) {
    json["aborts"][NameOfPhase(i)] = counts.aborts[i];
  }
  for (const auto& [code, count] : counts.errors) {
    json["errors"][absl::StatusCodeToString(code)] = count;
  }
  if (verdict.kills > 0) {
    json["slowest_recovery_ms"] = Seconds(verdict.slowest_recovery_ns) * 1e3;
  }
  return json.dump(2) + "\n";
}

}  // namespace acre::verify
