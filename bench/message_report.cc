// The tables and the JSON of bench/messages.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/machine.h"
#include "bench/median.h"
#include "bench/message_rounds.h"

namespace acre::bench {
namespace {

const char* WayName(MessageWay way) { return way == MessageWay::kRing ? "ring" : "tcp"; }

// Of what goes over a fabric, else null.
absl::optional<double> PerCall(const MessageRow& row, uint64_t count) {
  const uint64_t calls = row.client_cost.calls;
  if (row.way != MessageWay::kRing || calls == 0) return absl::nullopt;
  return static_cast<double>(count) / static_cast<double>(calls);
}

absl::optional<double> VerbsPerCall(const MessageRow& row, const MessageCost& cost) {
  return PerCall(row, cost.verbs.reads + cost.verbs.writes + cost.verbs.atomics);
}

absl::optional<double> RoundTripsPerCall(const MessageRow& row) {
  return PerCall(row, row.client_cost.verbs.round_trips);
}

std::string AsText(const absl::optional<double>& per_call) {
  return per_call.has_value() ? absl::StrFormat("%.3f", *per_call) : "-";
}

nlohmann::json AsJson(const absl::optional<double>& per_call) {
  return per_call.has_value() ? nlohmann::json(*per_call) : nlohmann::json();
}

}  // namespace

std::string FormatMessages(const std::vector<MessageRow>& rows) {
  std::string table = absl::StrFormat(
      "%6s %11s %11s %12s %9s %9s %10s %10s %9s %12s %9s %9s %10s %10s %9s\n", "bytes",
      "connections", "outstanding", "ring calls/s", "p50 us", "p99 us", "verbs/call", "trips/call",
      "srv verbs", "tcp calls/s", "p50 us", "p99 us", "verbs/call", "rate ratio", "p50 ratio");
  // The two ways of a load stand behind each other.
  for (size_t i = 0; i + 1 < rows.size(); ++i) {
    const MessageRow& ring = rows[i];
    const MessageRow& tcp = rows[i + 1];
    if (ring.paced || ring.way != MessageWay::kRing) continue;
    absl::StrAppendFormat(
        &table,
        "%6d %11d %11d %12.0f %9.2f %9.2f %10s %10s %9s %12.0f %9.2f %9.2f %10s %10.2f %9.2f\n",
        ring.bytes, ring.connections, ring.outstanding, Median(ring.calls_per_second),
        Median(ring.p50_us), Median(ring.p99_us), AsText(VerbsPerCall(ring, ring.client_cost)),
        AsText(RoundTripsPerCall(ring)), AsText(VerbsPerCall(ring, ring.server_cost)),
        Median(tcp.calls_per_second), Median(tcp.p50_us), Median(tcp.p99_us),
        AsText(VerbsPerCall(tcp, tcp.client_cost)),
        MedianRatio(ring.calls_per_second, tcp.calls_per_second),
        MedianRatio(tcp.p50_us, ring.p50_us));
  }
  for (const MessageRow& row : rows) {
    if (!row.paced) continue;
    absl::StrAppendFormat(&table,
                          "%6d: ring, %d outstanding, as an open loop at the rate of tcp with 16 "
                          "connections, %.0f calls/s: p50 %.2f us, p99 %.2f us\n",
                          row.bytes, row.outstanding, Median(row.target_per_second),
                          Median(row.p50_us), Median(row.p99_us));
  }
  return table;
}

std::string FormatReaches(const std::vector<Reach>& reaches) {
  if (reaches.empty()) return "";
  std::string table =
      "reach, against tcp with 16 connections, 1 outstanding on each:\n"
      "  rate: of a ring with 16 outstanding, times tcp's; p50: tcp's, times the ring's at tcp's "
      "rate\n";
  for (const Reach& reach : reaches) {
    absl::StrAppendFormat(&table, "%6d B  %-4s  %7.2f times, wanted %2.0f: %s\n", reach.bytes,
                          reach.what, reach.ratio, reach.wanted,
                          reach.ratio >= reach.wanted ? "reached" : "missed");
  }
  return table;
}

nlohmann::json MessagesToJson(const RoundsOptions& options, const std::vector<MessageRow>& rows,
                              const std::vector<Reach>& reaches) {
  const nlohmann::json machine = DescribeMachine();
  const char* const poll = options.sides.poll == PollMode::kBusy ? "busy" : "adaptive";
  nlohmann::json array = nlohmann::json::array();
  for (const MessageRow& row : rows) {
    nlohmann::json target;  // Null: closed loop.
    if (row.paced) target = Median(row.target_per_second);
    array.push_back({{"way", WayName(row.way)},
                     {"fabric", row.way == MessageWay::kRing ? options.sides.fabric : "socket"},
                     {"poll", poll},
                     {"bytes", row.bytes},
                     {"connections", row.connections},
                     {"outstanding", row.outstanding},
                     {"calls_per_second", Median(row.calls_per_second)},
                     {"target_calls_per_second", target},
                     {"latency_us", {{"p50", Median(row.p50_us)}, {"p99", Median(row.p99_us)}}},
                     {"verbs_per_call", AsJson(VerbsPerCall(row, row.client_cost))},
                     {"round_trips_per_call", AsJson(RoundTripsPerCall(row))},
                     {"server_verbs_per_call", AsJson(VerbsPerCall(row, row.server_cost))},
                     {"rounds", options.rounds},
                     {"machine", machine}});
  }
  for (const Reach& reach : reaches) {
    array.push_back({{"reach", reach.what},
                     {"bytes", reach.bytes},
                     {"ratio", reach.ratio},
                     {"wanted", reach.wanted}});
  }
  return array;
}

}  // namespace acre::bench
