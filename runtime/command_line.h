// The command line of Acre's programs: gflags, with errors that are one line and say what to do, and a
// help that shows the program's own flags and no library's.
//
// For main files only: that is where flags are.

#ifndef ACRE_RUNTIME_COMMAND_LINE_H_
#define ACRE_RUNTIME_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre {

struct CommandLine {
  bool help = false;                   // --help was given: print HelpText() and leave.
  std::vector<std::string> arguments;  // What is no flag.
};

// Sets the flags of the program. --name=value, --name value, --name and --noname for a bool; what
// stands behind -- is no flag. InvalidArgument: an unknown flag, or a value that it cannot have.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, char** argv);

// `usage`, then the flags that are defined in `main_file` (__FILE__ of the caller), with their defaults.
std::string HelpText(absl::string_view usage, absl::string_view main_file);

}  // namespace acre

#endif  // ACRE_RUNTIME_COMMAND_LINE_H_
