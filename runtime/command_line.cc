#include "runtime/command_line.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gflags/gflags.h"

namespace acre {
namespace {

using FlagInfo = gflags::CommandLineFlagInfo;

bool FindFlag(const std::string& name, FlagInfo* info) {
  return gflags::GetCommandLineFlagInfo(name.c_str(), info);
}

absl::Status Set(const FlagInfo& info, const std::string& value) {
  if (!gflags::SetCommandLineOption(info.name.c_str(), value.c_str()).empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("--", info.name, "=", value, ": this is no ",
                                                 info.type, "; --help explains the flag"));
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, char** argv) {
  CommandLine line;
  for (int i = 1; i < argc; ++i) {
    absl::string_view text = argv[i];
    if (text == "--") {
      line.arguments.insert(line.arguments.end(), argv + i + 1, argv + argc);
      break;
    }
    if (text.size() < 2 || text[0] != '-') {
      line.arguments.emplace_back(text);
      continue;
    }
    if (!absl::ConsumePrefix(&text, "--")) text.remove_prefix(1);
    if (text == "help") {
      line.help = true;
      continue;
    }
    const size_t equals = text.find('=');
    const std::string name(text.substr(0, equals));
    FlagInfo info;
    absl::Status status;
    if (!FindFlag(name, &info)) {
      const bool negated = absl::StartsWith(name, "no") && FindFlag(name.substr(2), &info) &&
                           info.type == "bool" && equals == absl::string_view::npos;
      if (!negated) {
        return absl::InvalidArgumentError(
            absl::StrCat("unknown flag --", name, "; --help lists those there are"));
      }
      status = Set(info, "false");
    } else if (equals != absl::string_view::npos) {
      status = Set(info, std::string(text.substr(equals + 1)));
    } else if (info.type == "bool") {
      status = Set(info, "true");
    } else if (i + 1 < argc) {
      status = Set(info, argv[++i]);
    } else {
      status = absl::InvalidArgumentError(absl::StrCat("--", name, " wants a value"));
    }
    if (!status.ok()) return status;
  }
  return line;
}

std::string HelpText(absl::string_view usage, absl::string_view main_file) {
  std::vector<FlagInfo> flags;
  gflags::GetAllFlags(&flags);
  std::string text = absl::StrCat(usage, "\n");
  for (const FlagInfo& flag : flags) {
    if (flag.filename != main_file) continue;
    const std::string value =
        flag.type == "string" ? absl::StrCat("\"", flag.default_value, "\"") : flag.default_value;
    absl::StrAppend(&text, "\n  --", flag.name, "  (", flag.type, ", default ", value, ")\n      ",
                    flag.description, "\n");
  }
  return text;
}

}  // namespace acre
