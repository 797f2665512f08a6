#include "kvs/limits.h"

#include "absl/strings/str_cat.h"

namespace acre::kvs {

absl::Status CheckKey(absl::string_view key) {
  if (key.empty()) return absl::InvalidArgumentError("the key is empty: keys are 1 to 4096 bytes");
  if (key.size() > kKeyBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the key has ", key.size(), " bytes: at most ", kKeyBytesMax, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckValue(absl::string_view value) {
  if (value.size() > kValueBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("the value has ", value.size(),
                                                   " bytes: at most ", kValueBytesMax,
                                                   " are allowed; split it over several keys"));
  }
  return absl::OkStatus();
}

}  // namespace acre::kvs
