// Journal: how a client that may be killed at any moment writes its part of a History.
//
// A record is written to a file before its operation begins and another one after it has ended, each by
// one write(2). What write(2) has taken the kernel keeps, however the process ends. So of a client that is
// killed there is missing at most: the end of an operation, which then has outcome unknown; or the
// beginning of an operation that had not begun. A record that was being written may be torn: it is the
// last, and either of the two.
//
// A file is lines. `NUMBER` counts the operations of one writer, what follows is a line of a history's text
// form (tests/checkers/history.h). Of two lines with one number the later counts. While no operation is under
// way others may read the file and empty it; numbers go on.
//
//   7 c3 h0 210 - unknown put "key" "v2"      it begins
//   7 c3 h0 210 230 ok put "key" "v2"         it has ended
//
// Threads:   one at a time.
// Ownership: owns its descriptor.

#ifndef ACRE_TESTS_CHECKERS_JOURNAL_H_
#define ACRE_TESTS_CHECKERS_JOURNAL_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/scoped_fd.h"
#include "tests/checkers/history.h"

namespace acre::checkers {

class Journal {
 public:
  // Makes the file, for one writer. Errors: those of the file system.
  static absl::StatusOr<Journal> Open(const std::string& path);

  // Call it before anything of the operation can take effect, with the time in it. Gives its number.
  // A file system that is full ends the program: no history is better than one with a hole.
  uint64_t Start(const Operation& operation);
  // The same operation with what is known now.
  void End(uint64_t number, const Operation& operation);

 private:
  explicit Journal(ScopedFd fd) : fd_(std::move(fd)) {}
  void Write(uint64_t number, const Operation& operation);

  ScopedFd fd_;
  uint64_t started_ = 0;
  std::string line_;
};

// The operations of a journal's text, by their numbers, from the first of them on. `is_torn`: its writer was
// killed, and the last line may lack its end. InvalidArgument: names the line and what is wrong with it.
absl::StatusOr<std::vector<Operation>> ParseJournal(absl::string_view text, bool is_torn);

}  // namespace acre::checkers

#endif  // ACRE_TESTS_CHECKERS_JOURNAL_H_
