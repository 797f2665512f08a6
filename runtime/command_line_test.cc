#include "runtime/command_line.h"

#include <string>
#include <vector>

#include "gflags/gflags.h"
#include "gtest/gtest.h"

DEFINE_string(command_line_test_text, "default", "A text.");
DEFINE_int32(command_line_test_number, 7, "A number.");
DEFINE_bool(command_line_test_switch, false, "A switch.");

namespace acre {
namespace {

absl::StatusOr<CommandLine> Parse(std::vector<std::string> arguments) {
  std::string program = "program";
  std::vector<char*> argv = {program.data()};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

TEST(CommandLineTest, FlagsInAllTheirForms) {
  const auto line = Parse({"--command_line_test_text=a=b", "-command_line_test_number", "-3",
                           "--command_line_test_switch", "rest", "--", "--not_a_flag"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(FLAGS_command_line_test_text, "a=b");
  EXPECT_EQ(FLAGS_command_line_test_number, -3);
  EXPECT_TRUE(FLAGS_command_line_test_switch);
  EXPECT_EQ(line->arguments, (std::vector<std::string>{"rest", "--not_a_flag"}));
  EXPECT_FALSE(line->help);
  ASSERT_TRUE(Parse({"--nocommand_line_test_switch"}).ok());
  EXPECT_FALSE(FLAGS_command_line_test_switch);
  ASSERT_TRUE(Parse({"--command_line_test_text="}).ok());
  EXPECT_EQ(FLAGS_command_line_test_text, "");
}

TEST(CommandLineTest, WhatIsWrongIsNamed) {
  for (const char* argument :
       {"--no_such_flag", "--no_such_flag=1", "--command_line_test_number=x",
        "--command_line_test_number", "--nocommand_line_test_number",
        "--command_line_test_switch=perhaps", "--nocommand_line_test_switch=true"}) {
    const auto line = Parse({argument});
    EXPECT_TRUE(absl::IsInvalidArgument(line.status())) << argument;
  }
}

TEST(CommandLineTest, HelpListsTheFlagsOfOneFile) {
  EXPECT_TRUE(Parse({"--help"}).value().help);
  const std::string text = HelpText("usage", __FILE__);
  EXPECT_EQ(text.find("usage\n"), 0u);
  EXPECT_NE(text.find("--command_line_test_number"), std::string::npos);
  EXPECT_EQ(text.find("logtostderr"), std::string::npos);
}

}  // namespace
}  // namespace acre
