#include "server/state_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace acre::server {
namespace {

constexpr char kAddress[] = "127.0.0.1:7400";
constexpr char kBoot[] = "this-boot";

class StateFileTest : public testing::Test {
 protected:
  StateFileTest()
      : folder_(absl::StrCat(testing::TempDir(), "/",
                             testing::UnitTest::GetInstance()->current_test_info()->name())) {
    EXPECT_EQ(StateFile::Folder(folder_).value(), folder_);
  }
  absl::StatusOr<std::unique_ptr<StateFile>> Open(absl::string_view boot = kBoot) {
    return StateFile::Open(folder_, kAddress, boot);
  }
  std::string path() const { return absl::StrCat(folder_, "/", kAddress, ".state"); }

  const std::string folder_;
};

TEST_F(StateFileTest, FirstServerWaitsForNobody) {
  EXPECT_EQ(Open().value()->before(), StateFile::Before::kNone);
  // That one never served: nor did anybody since.
  EXPECT_EQ(Open().value()->before(), StateFile::Before::kNone);
}

TEST_F(StateFileTest, CleanStopIsRemembered) {
  {
    const auto file = Open();
    ASSERT_EQ((*file)->WriteRunning(1, 500), absl::OkStatus());
    ASSERT_EQ((*file)->WriteClean(), absl::OkStatus());
  }
  EXPECT_EQ(Open().value()->before(), StateFile::Before::kClean);
}

TEST_F(StateFileTest, DeathIsSeenWithItsLease) {
  ASSERT_EQ(Open().value()->WriteRunning(0xffffffffffffffff, 10'000), absl::OkStatus());
  const auto file = Open();
  EXPECT_EQ((*file)->before(), StateFile::Before::kDied);
  EXPECT_EQ((*file)->lease_ms_before(), 10'000);
}

// Goal: a server that dies before it serves does not hide the death before it.
TEST_F(StateFileTest, DeathIsSeenTillSomebodyServes) {
  ASSERT_EQ(Open().value()->WriteRunning(1, 500), absl::OkStatus());
  EXPECT_EQ(Open().value()->before(), StateFile::Before::kDied);
  EXPECT_EQ(Open().value()->before(), StateFile::Before::kDied);
}

TEST_F(StateFileTest, RestartOfTheMachineEndsAllLeases) {
  ASSERT_EQ(Open().value()->WriteRunning(1, 500), absl::OkStatus());
  EXPECT_EQ(Open("next-boot").value()->before(), StateFile::Before::kNone);
}

TEST_F(StateFileTest, RubbishMeansTheWorst) {
  for (const char* text : {"x", "acre-state 1\nstate clean\nlease_ms many\n", "\n\n\n",
                           "acre-state 2\nstate clean\nboot_id this-boot\nlease_ms 500\n"}) {
    std::ofstream(path(), std::ios::trunc) << text;
    const auto file = Open();
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ((*file)->before(), StateFile::Before::kDied) << text;
    EXPECT_EQ((*file)->lease_ms_before(), kLeaseMsMax) << text;
  }
}

TEST_F(StateFileTest, OnlyOneHoldsIt) {
  const auto first = Open();
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Open().status()));
}

TEST_F(StateFileTest, LinksAreNotFollowed) {
  const std::string victim = folder_ + "/victim";
  std::ofstream(victim) << "precious";
  ASSERT_EQ(symlink(victim.c_str(), path().c_str()), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Open().status())) << Open().status();
  ASSERT_EQ(unlink(path().c_str()), 0);
  ASSERT_EQ(link(victim.c_str(), path().c_str()), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Open().status())) << Open().status();
  ASSERT_EQ(unlink(path().c_str()), 0);
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Open().status())) << Open().status();
}

TEST_F(StateFileTest, FolderThatOthersMayWriteToIsRefused) {
  const std::string open_folder = folder_ + "/open";
  ASSERT_EQ(mkdir(open_folder.c_str(), 0700), 0);
  ASSERT_EQ(chmod(open_folder.c_str(), 0777), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(StateFile::Folder(open_folder).status()));
  const std::string link_to_folder = folder_ + "/link";
  ASSERT_EQ(symlink(folder_.c_str(), link_to_folder.c_str()), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(StateFile::Folder(link_to_folder).status()));
  EXPECT_TRUE(absl::IsPermissionDenied(StateFile::Folder(folder_ + "/no/such").status()));
}

}  // namespace
}  // namespace acre::server
