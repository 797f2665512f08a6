#include "server/doctor/check.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "glog/logging.h"
#include "nlohmann/json.hpp"

namespace acre::doctor {
namespace {

// ANSI: green, yellow, bold red.
absl::string_view ColourOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "\033[32m";
    case Verdict::kNote:
      return "\033[33m";
    case Verdict::kBad:
      break;
  }
  return "\033[1;31m";
}

int64_t Count(absl::Span<const Check> checks, Verdict verdict) {
  return std::count_if(checks.begin(), checks.end(),
                       [verdict](const Check& check) { return check.verdict == verdict; });
}

}  // namespace

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNote:
      return "note";
    case Verdict::kBad:
      break;
  }
  return "BAD";
}

void Findings::Add(Check check) {
  CHECK(check.verdict != Verdict::kBad || !check.mend.empty()) << check.what;
  all_.push_back(std::move(check));
  OnAdded(all_.back());
}

bool Findings::HasBad() const { return Count(all_, Verdict::kBad) > 0; }

std::string FormatCheck(const Check& check, bool in_colour) {
  const std::string word = absl::StrFormat("%-4s", VerdictName(check.verdict));
  std::string text = absl::StrFormat(
      "%s  %-14s  %s\n", in_colour ? absl::StrCat(ColourOf(check.verdict), word, "\033[0m") : word,
      check.what, check.found);
  const absl::string_view lead = check.verdict == Verdict::kBad ? "mend:" : "better:";
  for (const std::string& command : check.mend) {
    absl::StrAppend(&text, absl::StrFormat("      %14s  %s\n", lead, command));
  }
  return text;
}

std::string Summary(absl::Span<const Check> checks) {
  return absl::StrCat(Count(checks, Verdict::kOk), " ok, ", Count(checks, Verdict::kNote),
                      " note, ", Count(checks, Verdict::kBad), " BAD");
}

std::string ChecksAsJson(absl::Span<const Check> checks) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Check& check : checks) {
    nlohmann::json figures = nlohmann::json::object();
    for (const auto& [name, value] : check.figures) figures[name] = value;
    rows.push_back({{"verdict", std::string(VerdictName(check.verdict))},
                    {"what", check.what},
                    {"found", check.found},
                    {"mend", check.mend},
                    {"figures", std::move(figures)}});
  }
  const nlohmann::json all = {{"checks", std::move(rows)}, {"bad", Count(checks, Verdict::kBad)}};
  // A device's name could hold any bytes.
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace acre::doctor
