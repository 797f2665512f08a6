#include "transport/secret.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace acre::transport {
namespace {

class SecretTest : public testing::Test {
 protected:
  std::string Write(const std::string& bytes, mode_t mode = 0600) {
    const std::string path = testing::TempDir() + "/secret";
    unlink(path.c_str());
    std::ofstream(path, std::ios::binary) << bytes;
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }
  void ExpectRefused(const std::string& path, absl::string_view part) {
    const auto secret = Secret::ReadFile(path);
    ASSERT_TRUE(absl::IsInvalidArgument(secret.status())) << secret.status();
    EXPECT_TRUE(absl::StrContains(secret.status().message(), part)) << secret.status();
    EXPECT_FALSE(absl::StrContains(secret.status().message(), "\n")) << secret.status();
  }
};

TEST_F(SecretTest, AllBytesCountButOneNewlineAtTheEnd) {
  const std::string bytes("0123456789\0abc\ndef", 18);
  for (absl::string_view end : {"", "\n", "\r\n"}) {
    const auto secret = Secret::ReadFile(Write(bytes + std::string(end)));
    ASSERT_TRUE(secret.ok()) << secret.status();
    EXPECT_EQ((*secret)->bytes(), bytes);
  }
  EXPECT_EQ((*Secret::ReadFile(Write(bytes + "\n\n")))->bytes(), bytes + "\n");
}

TEST_F(SecretTest, ShortestAndLongestAreTaken) {
  EXPECT_TRUE(Secret::ReadFile(Write(std::string(kSecretBytesMin, 'x'))).ok());
  EXPECT_TRUE(Secret::ReadFile(Write(std::string(kSecretBytesMax, 'x') + "\r\n")).ok());
}

TEST_F(SecretTest, WhatIsWrongIsSaid) {
  ExpectRefused("/nowhere/secret", "cannot be read: No such file");
  ExpectRefused("", "cannot be read");
  ExpectRefused(testing::TempDir(), "is no regular file");
  ExpectRefused("/dev/zero", "is no regular file");
  ExpectRefused(Write(""), "is empty");
  ExpectRefused(Write("\n"), "is empty");
  ExpectRefused(Write(std::string(kSecretBytesMin - 1, 'x') + "\n"), "at least 16");
  ExpectRefused(Write(std::string(kSecretBytesMax + 1, 'x')), "at most 1024");
  ExpectRefused(Write(std::string(1 << 20, 'x')), "at most 1024");
}

TEST_F(SecretTest, FilesOfOthersToReadOrWriteAreRefused) {
  for (const mode_t mode : {0640, 0620, 0604, 0602, 0666}) {
    const std::string path = Write(std::string(32, 'x'), mode);
    ExpectRefused(path, "chmod 600 " + path);
  }
  EXPECT_TRUE(Secret::ReadFile(Write(std::string(32, 'x'), 0400)).ok());
}

TEST_F(SecretTest, AnErrorNeverHoldsTheSecret) {
  const auto refused = Secret::ReadFile(Write("hunter2"));
  EXPECT_FALSE(absl::StrContains(refused.status().message(), "hunter2")) << refused.status();
}

}  // namespace
}  // namespace acre::transport
