// Check: one line of what kv_doctor found.

#ifndef ACRE_SERVER_DOCTOR_CHECK_H_
#define ACRE_SERVER_DOCTOR_CHECK_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace acre::doctor {

// kOk: as it should be. kNote: works, and is worth knowing or could be better. kBad: what the user wants to
// have does not work.
enum class Verdict : uint8_t { kOk, kNote, kBad };
absl::string_view VerdictName(Verdict verdict);  // "ok", "note", "BAD".

struct Check {
  Verdict verdict = Verdict::kOk;
  std::string what;   // One word or two: "memlock", "rxe0:1 port".
  std::string found;  // One line, for people.
  // What mends it, best first: a command, with a remark behind # where it needs one. Never empty for kBad.
  std::vector<std::string> mend = {};
  // For programs: figures of `found` by name and unit.
  std::vector<std::pair<std::string, double>> figures = {};
};

// Where each finding goes as soon as it is there: some take seconds.
class Findings {
 public:
  virtual ~Findings() = default;
  // CHECKs that who says BAD says what mends it.
  void Add(Check check);
  const std::vector<Check>& all() const { return all_; }
  bool HasBad() const;

 protected:
  virtual void OnAdded(const Check& /*check*/) {}

 private:
  std::vector<Check> all_;
};

// "ok    memlock         unlimited\n", and a line for each command below it. `in_colour`: for terminals.
std::string FormatCheck(const Check& check, bool in_colour);
// "3 ok, 1 note, 0 BAD".
std::string Summary(absl::Span<const Check> checks);
// An object {"checks": [{"verdict", "what", "found", "mend": [...], "figures": {...}}, ...],
// "bad": count}, with a newline at its end.
std::string ChecksAsJson(absl::Span<const Check> checks);

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_CHECK_H_
