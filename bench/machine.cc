#include "bench/machine.h"

#include <errno.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace acre::bench {
namespace {

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, "model name")) continue;
    const size_t colon = rest.find(':');
    if (colon == absl::string_view::npos) continue;
    return std::string(absl::StripAsciiWhitespace(rest.substr(colon + 1)));
  }
  return "unknown";
}

}  // namespace

nlohmann::json DescribeMachine() {
  utsname name = {};
  uname(&name);
  return {{"cpu", CpuModel()},
          {"cores", std::thread::hardware_concurrency()},
          {"kernel", std::string(name.release)}};
}

absl::Status WriteJson(const std::string& file, const nlohmann::json& json) {
  std::ofstream stream(file);
  stream << json.dump(2) << "\n";
  stream.close();
  if (!stream) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", file));
  return absl::OkStatus();
}

}  // namespace acre::bench
