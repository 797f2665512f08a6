// How kv_cli reads words and writes values, so that any bytes can be typed and seen.

#ifndef ACRE_CLIENT_COMMAND_LINE_H_
#define ACRE_CLIENT_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre {

// The words of a line, separated by white space. In "double quotes" the escapes \xHH, \n, \r, \t, \b,
// \a, \\ and \" stand for bytes; in 'single quotes' only \' does. Elsewhere every byte stands for itself.
// InvalidArgument: a quote is not closed, something follows it without a space, or an escape is unknown.
absl::StatusOr<std::vector<std::string>> SplitCommandLine(absl::string_view line);

// A word of the shell's command line: taken as it is, unless it stands in double quotes of its own
// ('"a\x00b"'), which are read as above. InvalidArgument likewise.
absl::StatusOr<std::string> UnquoteArgument(absl::string_view argument);

// `bytes` in double quotes, what is not printable ASCII as an escape. SplitCommandLine reads it back.
std::string Quote(absl::string_view bytes);

}  // namespace acre

#endif  // ACRE_CLIENT_COMMAND_LINE_H_
