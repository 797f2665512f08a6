#include "bench/process_crew.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

// How long a child, in a slice, looks whether its threads have ended by themselves.
constexpr int kSliceLookMs = 5;

// Numbers of a result, in the order in which they travel.
std::array<uint64_t*, 13> NumbersOf(Result* result) {
  return {&result->operations,       &result->errors,        &result->backlog,
          &result->run_ns,           &result->reader.gets,   &result->reader.reads,
          &result->reader.retries,   &result->reader.misses, &result->verbs.reads,
          &result->verbs.writes,     &result->verbs.atomics, &result->verbs.doorbells,
          &result->verbs.round_trips};
}

absl::StatusOr<std::vector<PickedPath>> ParsePicked(absl::string_view text) {
  std::vector<PickedPath> picked;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const absl::StatusOr<Path> path = ParsePath(parts.first);
    if (!path.ok()) return NonsenseError(text);
    picked.push_back({*path, std::string(parts.second)});
  }
  return picked;
}

absl::StatusOr<SliceEnd> ParseSliceEnd(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  SliceEnd end;
  if (words.size() != 3 || !absl::SimpleAtoi(words[0], &end.operations) ||
      !absl::SimpleAtoi(words[1], &end.operations_most) ||
      !absl::SimpleAtoi(words[2], &end.errors)) {
    return NonsenseError(text);
  }
  return end;
}

class ProcessCrew : public Crew {
 public:
  explicit ProcessCrew(std::vector<std::unique_ptr<Subprocess>> children)
      : children_(std::move(children)), ends_(children_.size()) {
    CHECK(!children_.empty());
  }
  // Lets them end by themselves, unless something is wrong with one: then they are killed.
  ~ProcessCrew() override {
    for (size_t i = 0; i < children_.size() && status_.ok(); ++i)
      children_[i]->Finish().IgnoreError();
  }

  absl::StatusOr<std::vector<PickedPath>> Connect() override {
    TellAll("connect");
    std::vector<PickedPath> picked;
    for (size_t i = 0; i < children_.size(); ++i) {
      const std::string text = Hear(i, "picked");
      if (!status_.ok()) return status_;
      absl::StatusOr<std::vector<PickedPath>> parsed = ParsePicked(text);
      if (!parsed.ok()) {
        Fail(parsed.status());
        return status_;
      }
      picked = *std::move(parsed);
    }
    return picked;
  }

  absl::Status StartLoad(double operations_per_second) override {
    const double share = operations_per_second / static_cast<double>(children_.size());
    TellAll(absl::StrFormat("load %.17g", share));
    for (size_t i = 0; i < children_.size(); ++i) Hear(i, "loaded");
    return status_;
  }

  absl::Status BeginSlice(size_t path_index, uint64_t operations_max) override {
    ends_.assign(children_.size(), absl::nullopt);
    TellAll(absl::StrCat("begin ", path_index, " ", operations_max));
    return status_;
  }

  // True also when a child has died: EndSlice() tells.
  bool SliceIsOver() override {
    bool is_over = true;
    for (size_t i = 0; i < children_.size() && status_.ok(); ++i) {
      if (ends_[i].has_value()) continue;
      if (CanReceive(children_[i]->socket(), /*timeout_ms=*/0)) {
        HearEnd(i);
      } else {
        is_over = false;
      }
    }
    return is_over || !status_.ok();
  }

  absl::StatusOr<SliceEnd> EndSlice() override {
    TellAll("end");
    SliceEnd sum;
    for (size_t i = 0; i < children_.size(); ++i) {
      if (status_.ok() && !ends_[i].has_value()) HearEnd(i);
      if (!status_.ok()) return status_;
      sum.operations += ends_[i]->operations;
      sum.operations_most = std::max(sum.operations_most, ends_[i]->operations_most);
      sum.errors += ends_[i]->errors;
    }
    return sum;
  }

  absl::StatusOr<std::vector<PathTotal>> Results() override {
    TellAll("results");
    std::vector<PathTotal> sums;
    for (size_t i = 0; i < children_.size(); ++i) {
      const std::string text = Hear(i, "results");
      if (!status_.ok()) return status_;
      const absl::optional<std::vector<PathTotal>> totals = ParseTotals(text);
      if (sums.empty() && totals.has_value()) sums.resize(totals->size());
      if (!totals.has_value() || sums.size() != totals->size()) {
        Fail(NonsenseError(text));
        return status_;
      }
      for (size_t path = 0; path < sums.size(); ++path) {
        sums[path].operations_per_second += (*totals)[path].operations_per_second;
        sums[path].result.Add((*totals)[path].result);
      }
    }
    return sums;
  }

 private:
  // The first error stays.
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  // Child `i` is gone, or talks nonsense.
  void FailOf(size_t i, const absl::Status& why) {
    absl::Status status = absl::IsUnavailable(why) ? children_[i]->Finish() : why;
    if (status.ok()) status = absl::UnavailableError("it has left early");
    Fail(absl::UnavailableError(
        absl::StrCat("load process ", i + 1, " of ", children_.size(), ": ", status.message())));
  }

  void TellAll(const std::string& message) {
    for (size_t i = 0; i < children_.size() && status_.ok(); ++i) {
      const absl::Status sent = SendMessage(children_[i]->socket(), message);
      if (!sent.ok()) FailOf(i, sent);
    }
  }

  // What child `i` answers, behind `word`. Empty, and status_ set, when that is no such answer.
  std::string Hear(size_t i, absl::string_view word) {
    if (!status_.ok()) return "";
    const absl::StatusOr<std::string> message = ReceiveMessage(children_[i]->socket());
    if (!message.ok()) {
      FailOf(i, message.status());
      return "";
    }
    absl::StatusOr<std::string> rest = ParseAnswer(word, *message);
    if (rest.ok()) return *std::move(rest);
    Fail(rest.status());
    return "";
  }

  void HearEnd(size_t i) {
    const std::string text = Hear(i, "slice");
    if (!status_.ok()) return;
    const absl::StatusOr<SliceEnd> end = ParseSliceEnd(text);
    if (end.ok()) {
      ends_[i] = *end;
    } else {
      Fail(end.status());
    }
  }

  std::vector<std::unique_ptr<Subprocess>> children_;
  std::vector<absl::optional<SliceEnd>> ends_;  // Of the slice that runs, where they were heard.
  absl::Status status_;                         // The first thing that went wrong.
};

// ---- The child.

// Runs a slice till it is over or the parent says so; its end is the answer.
absl::StatusOr<std::string> RunSlice(Crew* crew, int socket, absl::string_view arguments) {
  const std::vector<absl::string_view> words = absl::StrSplit(arguments, ' ');
  size_t path_index = 0;
  uint64_t operations_max = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &path_index) ||
      !absl::SimpleAtoi(words[1], &operations_max)) {
    return NonsenseError(arguments);
  }
  absl::Status status = crew->BeginSlice(path_index, operations_max);
  if (!status.ok()) return status;
  while (!crew->SliceIsOver()) {
    if (!CanReceive(socket, kSliceLookMs)) continue;
    const absl::StatusOr<std::string> message = ReceiveMessage(socket);
    if (!message.ok()) return message.status();
    if (*message == "end") break;
    return NonsenseError(*message);
  }
  const absl::StatusOr<SliceEnd> end = crew->EndSlice();
  if (!end.ok()) return end.status();
  return absl::StrCat("slice ", end->operations, " ", end->operations_most, " ", end->errors);
}

absl::StatusOr<std::string> Answer(Crew* crew, int socket, absl::string_view message) {
  if (message == "connect") {
    const absl::StatusOr<std::vector<PickedPath>> picked = crew->Connect();
    if (!picked.ok()) return picked.status();
    std::string text = "picked";
    for (const PickedPath& path : *picked) {
      absl::StrAppend(&text, "\n", PathName(path.path), " ", path.fabric);
    }
    return text;
  }
  if (message == "results") {
    const absl::StatusOr<std::vector<PathTotal>> totals = crew->Results();
    if (!totals.ok()) return totals.status();
    return absl::StrCat("results\n", SerializeTotals(*totals));
  }
  absl::string_view rest = message;
  if (absl::ConsumePrefix(&rest, "begin ")) return RunSlice(crew, socket, rest);
  double rate = 0;
  if (absl::ConsumePrefix(&rest, "load ") && absl::SimpleAtod(rest, &rate) && rate >= 0) {
    const absl::Status status = crew->StartLoad(rate);
    if (!status.ok()) return status;
    return std::string("loaded");
  }
  return NonsenseError(message);
}

}  // namespace

std::unique_ptr<Crew> MakeProcessCrew(std::vector<std::unique_ptr<Subprocess>> children) {
  return std::make_unique<ProcessCrew>(std::move(children));
}

absl::Status ServeCrew(Crew* crew, int socket) {
  while (true) {
    const absl::StatusOr<std::string> message = ReceiveMessage(socket);
    if (absl::IsUnavailable(message.status())) return absl::OkStatus();  // That was all.
    if (!message.ok()) return message.status();
    if (*message == "end") continue;  // It crossed the slice's own end.
    const absl::StatusOr<std::string> answer = Answer(crew, socket, *message);
    const absl::Status sent =
        SendMessage(socket, answer.ok() ? *answer : ErrorAnswer(answer.status()));
    if (!answer.ok()) return answer.status();
    if (!sent.ok()) return absl::OkStatus();
  }
}

std::string SerializeTotals(const std::vector<PathTotal>& totals) {
  std::vector<std::string> lines;
  for (const PathTotal& total : totals) {
    Result numbers = total.result;
    std::string line = absl::StrFormat("%.17g", total.operations_per_second);
    for (const uint64_t* number : NumbersOf(&numbers)) absl::StrAppend(&line, " ", *number);
    lines.push_back(absl::StrCat(line, " ", total.result.latency_ns.Serialize()));
  }
  return absl::StrJoin(lines, "\n");
}

absl::optional<std::vector<PathTotal>> ParseTotals(absl::string_view text) {
  std::vector<PathTotal> totals;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    PathTotal total;
    const auto numbers = NumbersOf(&total.result);
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::MaxSplits(' ', static_cast<int>(numbers.size()) + 1));
    if (words.size() != numbers.size() + 2) return {};
    if (!absl::SimpleAtod(words[0], &total.operations_per_second)) return {};
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (!absl::SimpleAtoi(words[i + 1], numbers[i])) return {};
    }
    absl::optional<Histogram> latency_ns = Histogram::Parse(words.back());
    if (!latency_ns.has_value()) return {};
    total.result.latency_ns = *std::move(latency_ns);
    totals.push_back(std::move(total));
  }
  return totals;
}

}  // namespace acre::bench
