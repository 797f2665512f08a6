// The example of README.md: the text in README is the program, and the program works.

#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/process.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

std::string ReadFile(const char* path) {
  std::ifstream stream(path);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

TEST(ExampleTest, ReadmeShowsTheProgram) {
  const std::string readme = ReadFile("README.md");
  const std::string program = ReadFile("client/example.cc");
  const std::string fence = "```cpp\n";
  const size_t begin = readme.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const size_t end = readme.find("```", begin + fence.size());
  ASSERT_NE(end, std::string::npos);
  const size_t text = begin + fence.size();
  EXPECT_THAT(program, HasSubstr(readme.substr(text, end - text)));
}

TEST(ExampleTest, ExampleRuns) {
  auto server = KvServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  auto example = Process::Start({"client/example", (*server)->address()});
  ASSERT_TRUE(example.ok()) << example.status();
  const Outcome outcome = (*example)->Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.stderr_text;
  EXPECT_EQ(outcome.stdout_text, "greeting: hello\nhello\nno such record\n");
}

TEST(ExampleTest, NoServerIsOneClearLine) {
  auto example = Process::Start({"client/example", "127.0.0.1:1"});
  ASSERT_TRUE(example.ok()) << example.status();
  const Outcome outcome = (*example)->Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.stderr_text, HasSubstr("127.0.0.1:1"));
}

}  // namespace
}  // namespace acre::tests
