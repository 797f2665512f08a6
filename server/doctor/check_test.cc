#include "server/doctor/check.h"

#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace acre::doctor {
namespace {

const Check kBadCheck = {
    Verdict::kBad, "memlock", "64 KiB", {"ulimit -l unlimited"}, {{"soft", 64}}};

TEST(CheckTest, ALineBeginsWithTheVerdictAndItsCommandsFollow) {
  EXPECT_EQ(FormatCheck({Verdict::kOk, "memlock", "unlimited"}, /*in_colour=*/false),
            "ok    memlock         unlimited\n");
  const std::string bad = FormatCheck(kBadCheck, /*in_colour=*/false);
  EXPECT_EQ(bad.find("BAD   memlock         64 KiB\n"), 0u) << bad;
  EXPECT_NE(bad.find("mend:  ulimit -l unlimited\n"), std::string::npos) << bad;
  EXPECT_EQ(FormatCheck({Verdict::kOk, "x", "y"}, /*in_colour=*/true).find("\033[32mok  \033[0m"),
            0u);
}

TEST(CheckTest, OneBadIsBad) {
  Findings findings;
  findings.Add({Verdict::kOk, "a", "b"});
  findings.Add({Verdict::kNote, "a", "b"});
  EXPECT_FALSE(findings.HasBad());
  findings.Add(kBadCheck);
  EXPECT_TRUE(findings.HasBad());
  EXPECT_EQ(Summary(findings.all()), "1 ok, 1 note, 1 BAD");
}

TEST(CheckTest, JsonHoldsEverything) {
  const nlohmann::json json =
      nlohmann::json::parse(ChecksAsJson({kBadCheck, {Verdict::kNote, "\xff not UTF-8", "b"}}));
  EXPECT_EQ(json["bad"], 1);
  ASSERT_EQ(json["checks"].size(), 2u);
  EXPECT_EQ(json["checks"][0]["verdict"], "BAD");
  EXPECT_EQ(json["checks"][0]["what"], "memlock");
  EXPECT_EQ(json["checks"][0]["found"], "64 KiB");
  EXPECT_EQ(json["checks"][0]["mend"][0], "ulimit -l unlimited");
  EXPECT_EQ(json["checks"][0]["figures"]["soft"], 64);
}

TEST(CheckDeathTest, BadWithoutACommandIsOurBug) {
  Findings findings;
  EXPECT_DEATH(findings.Add({Verdict::kBad, "memlock", "too little"}), "memlock");
}

}  // namespace
}  // namespace acre::doctor
