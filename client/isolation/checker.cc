#include "client/isolation/checker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/isolation/cycles.h"
#include "client/isolation/deduction.h"
#include "client/isolation/explain.h"
#include "client/isolation/write_table.h"

namespace acre::isolation {
namespace {

absl::string_view NameOf(Anomaly anomaly) {
  switch (anomaly) {
    case Anomaly::kGarbage:
      return "garbage-read";
    case Anomaly::kDuplicate:
      return "duplicate-elements";
    case Anomaly::kIncompatibleOrder:
      return "incompatible-order";
    case Anomaly::kInternal:
      return "internal";
    case Anomaly::kDirtyWrite:
      return "G0";
    case Anomaly::kAbortedRead:
      return "G1a";
    case Anomaly::kIntermediateRead:
      return "G1b";
    case Anomaly::kCircularFlow:
      return "G1c";
    case Anomaly::kDirtyUpdate:
      return "dirty-update";
    case Anomaly::kUnrepeatable:
      return "unrepeatable-read";
    case Anomaly::kLostUpdate:
      return "lost-update";
    case Anomaly::kSingle:
      return "G-single";
    case Anomaly::kNonadjacent:
      return "G-nonadjacent";
    case Anomaly::kItem:
      return "G2-item";
  }
  return "";
}

absl::string_view MeaningOf(Anomaly anomaly) {
  switch (anomaly) {
    case Anomaly::kGarbage:
      return "a read saw what nobody wrote";
    case Anomaly::kDuplicate:
      return "a list holds an element twice";
    case Anomaly::kIncompatibleOrder:
      return "a list was seen in two orders";
    case Anomaly::kInternal:
      return "a transaction did not see its own writes as it did them";
    case Anomaly::kDirtyWrite:
      return "writes in a circle";
    case Anomaly::kAbortedRead:
      return "a read of what never committed";
    case Anomaly::kIntermediateRead:
      return "a read of what its writer wrote over before it committed";
    case Anomaly::kCircularFlow:
      return "writes, and reads of what was written, in a circle";
    case Anomaly::kDirtyUpdate:
      return "a write on top of what never committed";
    case Anomaly::kUnrepeatable:
      return "two reads of one transaction differ";
    case Anomaly::kLostUpdate:
      return "two changes of the same version";
    case Anomaly::kSingle:
      return "a circle in which one read missed a write";
    case Anomaly::kNonadjacent:
      return "a circle in which several reads missed writes, no two in a row";
    case Anomaly::kItem:
      return "a circle in which several reads missed writes";
  }
  return "";
}

class Checker {
 public:
  Checker(const History& history, const WriteTable& writes, const CheckOptions& options)
      : history_(history), writes_(writes), options_(options) {}

  Report Run() {
    report_.transactions = history_.transactions.size();
    report_.keys = history_.keys.size();
    bool has_uncommitted = false;
    bool has_cycles = false;
    {
      Deduction deduction(history_, writes_, /*with_uncommitted=*/false);
      deduction.Run();
      Take(deduction);
      has_cycles = TakeCycles(deduction, /*are_of_uncommitted=*/false);
      report_.edges = deduction.graph().edges();
      for (size_t i = 0; i < history_.transactions.size(); ++i) {
        if (deduction.StandingOf(i) == Standing::kCommitted) {
          ++report_.committed;
        } else {
          has_uncommitted |= WasToldSomething(history_.transactions[i]);
        }
      }
    }
    if (has_uncommitted) {
      Deduction deduction(history_, writes_, /*with_uncommitted=*/true);
      deduction.Run();
      Take(deduction);
      // Where the committed ones go in a circle by themselves, the others are part of it sooner or later.
      if (!has_cycles) TakeCycles(deduction, /*are_of_uncommitted=*/true);
    }
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [](const Finding& a, const Finding& b) { return BrokenBy(a) < BrokenBy(b); });
    return std::move(report_);
  }

 private:
  static bool WasToldSomething(const Transaction& transaction) {
    return std::any_of(transaction.ops.begin(), transaction.ops.end(),
                       [](const Op& op) { return op.seen != Seen::kUntold; });
  }

  void Take(const Deduction& deduction) {
    for (const auto& [anomaly, found] : deduction.findings()) {
      Finding finding = found;
      finding.text =
          absl::StrCat(Introduce(history_, finding.transactions), "  ", found.text, "\n");
      report_.findings.push_back(std::move(finding));
    }
  }

  bool TakeCycles(const Deduction& deduction, bool are_of_uncommitted) {
    const std::vector<Cycle> cycles =
        FindCycles(history_, deduction.graph(), options_.work_max, &report_.work);
    for (const Cycle& cycle : cycles) {
      Finding finding;
      finding.anomaly = cycle.anomaly;
      finding.time = cycle.time;
      finding.is_of_uncommitted = are_of_uncommitted;
      for (const Step& step : cycle.steps) finding.transactions.push_back(step.from);
      finding.text = absl::StrCat(Introduce(history_, finding.transactions),
                                  Explain(history_, deduction, cycle));
      report_.findings.push_back(std::move(finding));
    }
    return !cycles.empty();
  }

  const History& history_;
  const WriteTable& writes_;
  const CheckOptions options_;
  Report report_;
};

}  // namespace

absl::string_view NameOf(Level level) {
  switch (level) {
    case Level::kReadUncommitted:
      return "read uncommitted";
    case Level::kReadCommitted:
      return "read committed";
    case Level::kSnapshotIsolation:
      return "snapshot isolation";
    case Level::kSerializable:
      return "serializable";
    case Level::kSessionSerializable:
      return "session serializable";
    case Level::kStrictSerializable:
      return "strictly serializable";
    case Level::kOpaque:
      return "opaque";
  }
  return "";
}

std::string NameOf(const Finding& finding) {
  return absl::StrCat(finding.is_of_uncommitted ? "uncommitted-" : "", NameOf(finding.anomaly),
                      finding.time == Time::kProcess    ? "-process"
                      : finding.time == Time::kRealTime ? "-realtime"
                                                        : "");
}

Level BrokenBy(const Finding& finding) {
  if (finding.is_of_uncommitted) return Level::kOpaque;
  if (finding.time == Time::kRealTime) return Level::kStrictSerializable;
  if (finding.time == Time::kProcess) return Level::kSessionSerializable;
  switch (finding.anomaly) {
    case Anomaly::kGarbage:
    case Anomaly::kDuplicate:
    case Anomaly::kIncompatibleOrder:
    case Anomaly::kInternal:
    case Anomaly::kDirtyWrite:
      return Level::kReadUncommitted;
    case Anomaly::kAbortedRead:
    case Anomaly::kIntermediateRead:
    case Anomaly::kCircularFlow:
    case Anomaly::kDirtyUpdate:
      return Level::kReadCommitted;
    case Anomaly::kUnrepeatable:
    case Anomaly::kLostUpdate:
    case Anomaly::kSingle:
    case Anomaly::kNonadjacent:
      return Level::kSnapshotIsolation;
    case Anomaly::kItem:
      return Level::kSerializable;
  }
  return Level::kReadUncommitted;
}

bool Report::Keeps(Level level) const {
  return std::none_of(findings.begin(), findings.end(),
                      [level](const Finding& finding) { return BrokenBy(finding) <= level; });
}

const Finding* Report::Find(absl::string_view name) const {
  for (const Finding& finding : findings) {
    if (NameOf(finding) == name) return &finding;
  }
  return nullptr;
}

absl::StatusOr<Report> Check(const History& history, const CheckOptions& options) {
  const absl::StatusOr<WriteTable> writes = WriteTable::Of(history);
  if (!writes.ok()) return writes.status();
  return Checker(history, *writes, options).Run();
}

std::string ToText(const Report& report) {
  std::string text;
  for (const Finding& finding : report.findings) {
    absl::StrAppend(&text, NameOf(finding), ": ", MeaningOf(finding.anomaly));
    if (finding.is_of_uncommitted) text += ", by transactions that did not commit";
    if (finding.time == Time::kProcess) text += ", if each process goes forward";
    if (finding.time == Time::kRealTime) text += ", if time goes forward";
    absl::StrAppend(&text, ". It breaks: ", NameOf(BrokenBy(finding)), ".\n", finding.text);
    if (finding.count > 1) absl::StrAppend(&text, "  And ", finding.count - 1, " more of these.\n");
    text += '\n';
  }
  for (size_t i = 0; i < kLevels; ++i) {
    const auto level = static_cast<Level>(i);
    absl::StrAppend(&text, report.Keeps(level) ? "  kept    " : "  BROKEN  ", NameOf(level), "\n");
  }
  return text;
}

}  // namespace acre::isolation
