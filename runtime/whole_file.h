// Files that are read and written as a whole.

#ifndef ACRE_RUNTIME_WHOLE_FILE_H_
#define ACRE_RUNTIME_WHOLE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre {

// NotFound: it cannot be opened or read; the message names it and says why.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path);

// Replaces what the file had. Unavailable: it cannot be written, or only in part; the message names it and says why.
absl::Status WriteWholeFile(const std::string& path, absl::string_view text);

}  // namespace acre

#endif  // ACRE_RUNTIME_WHOLE_FILE_H_
