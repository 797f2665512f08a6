// Values that are written once, and show whether they came back whole.

#ifndef ACRE_TESTS_KILL_VALUES_H_
#define ACRE_TESTS_KILL_VALUES_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace acre::tests {

// A name, and then bytes that follow from it, `bytes` in all or as many as the name needs. Another client or
// sequence number gives another value, no part of which can be taken for a part of this one.
std::string MakeValue(uint32_t client, uint64_t sequence, size_t bytes);

// What a history calls it: the name, if the bytes are those of its value; else a question mark and the bytes,
// which nobody ever put. So a history of large values is small, and a value that was mixed of two stands out.
std::string NameOfValue(absl::string_view value);

}  // namespace acre::tests

#endif  // ACRE_TESTS_KILL_VALUES_H_
