// A folder that plays / for checks of /proc and /sys. For tests.

#ifndef ACRE_SERVER_DOCTOR_FAKE_ROOT_H_
#define ACRE_SERVER_DOCTOR_FAKE_ROOT_H_

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace acre::doctor {

class FakeRoot {
 public:
  // Empty, and of the running test alone.
  FakeRoot()
      : path_(absl::StrCat(testing::TempDir(), "/",
                           testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  // `file` from / on: "/proc/meminfo".
  void Write(absl::string_view file, absl::string_view text) const {
    const std::filesystem::path full(absl::StrCat(path_, file));
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }

 private:
  const std::string path_;
};

}  // namespace acre::doctor

#endif  // ACRE_SERVER_DOCTOR_FAKE_ROOT_H_
