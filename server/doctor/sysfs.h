// What the kernel says in /proc and /sys, below a folder that is "" but for tests.
//
// Threads: any.

#ifndef ACRE_SERVER_DOCTOR_SYSFS_H_
#define ACRE_SERVER_DOCTOR_SYSFS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace acre::doctor {

// A file's text without white space around it; nothing if it cannot be read.
absl::optional<std::string> ReadText(const std::string& path);
absl::optional<int64_t> ReadInteger(const std::string& path);
// Names in a folder, sorted; none if there is no such folder.
std::vector<std::string> ListFolder(const std::string& path);
// The value of "NAME:   value" in a file of such lines.
absl::optional<std::string> ReadField(const std::string& path, absl::string_view name);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_SYSFS_H_
