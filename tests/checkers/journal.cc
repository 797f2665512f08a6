#include "tests/checkers/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"

namespace acre::checkers {

absl::StatusOr<Journal> Journal::Open(const std::string& path) {
  // O_APPEND: whoever empties the file between two operations need not tell its writer.
  ScopedFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.is_open()) return absl::ErrnoToStatus(errno, path);
  return Journal(std::move(fd));
}

uint64_t Journal::Start(const Operation& operation) {
  CHECK_EQ(operation.returned_at, kNever);
  CHECK(operation.outcome == Outcome::kUnknown);
  Write(started_, operation);
  return started_++;
}

void Journal::End(uint64_t number, const Operation& operation) {
  CHECK_LT(number, started_);
  CHECK_GE(operation.returned_at, operation.invoked_at);
  Write(number, operation);
}

void Journal::Write(uint64_t number, const Operation& operation) {
  line_ = absl::StrCat(number, " ", ToText(operation), "\n");
  const ssize_t written = write(fd_.get(), line_.data(), line_.size());
  PCHECK(written == static_cast<ssize_t>(line_.size())) << "a history's record was not written";
}

absl::StatusOr<std::vector<Operation>> ParseJournal(absl::string_view text, bool is_torn) {
  std::vector<Operation> operations;
  if (is_torn) text = text.substr(0, text.rfind('\n') + 1);  // None: 0.
  size_t line_number = 0;
  uint64_t first_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    ++line_number;
    const auto mistake = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat("line ", line_number, ": ", what));
    };
    const absl::string_view word = line.substr(0, line.find(' '));
    uint64_t number = 0;
    if (!absl::SimpleAtoi(word, &number)) return mistake("there is no operation's number");
    if (operations.empty()) first_number = number;
    number -= first_number;
    if (number > operations.size()) return mistake("an operation's number is wrong");
    line.remove_prefix(std::min(word.size() + 1, line.size()));
    absl::StatusOr<Operation> operation = ParseOperation(line);
    if (!operation.ok()) return mistake(operation.status().message());
    if (number == operations.size()) {
      if (operation->returned_at != kNever) return mistake("its beginning is missing");
      operations.push_back(*std::move(operation));
      continue;
    }
    if (operations[number].returned_at != kNever) return mistake("it ends twice");
    operations[number] = *std::move(operation);
  }
  if (!text.empty() && text.back() != '\n') {
    return absl::InvalidArgumentError("the last line lacks its end");
  }
  return operations;
}

}  // namespace acre::checkers
