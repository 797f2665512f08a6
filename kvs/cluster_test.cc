#include "kvs/cluster.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::kvs {
namespace {

using testing::HasSubstr;

ClusterMap Parse(absl::string_view text) {
  absl::StatusOr<ClusterMap> map = ParseClusterFile(text);
  EXPECT_TRUE(map.ok()) << map.status();
  return map.ok() ? *std::move(map) : ClusterMap();
}

TEST(ClusterFileTest, LinesAreServersInTheirOrder) {
  const ClusterMap map = Parse(
      "# the servers\n\n10.0.0.1:7400\n  db2.example.org:7400\t# the second\r\n[::1]:7401\n#end");
  ASSERT_EQ(map.servers.size(), 3u);
  EXPECT_EQ(map.servers[0].ToString(), "10.0.0.1:7400");
  EXPECT_EQ(map.servers[1].ToString(), "db2.example.org:7400");
  EXPECT_EQ(map.servers[2].ToString(), "[::1]:7401");
}

TEST(ClusterFileTest, WhatIsWrongIsNamedWithItsLine) {
  std::string many;
  for (int i = 0; i < 256; ++i) absl::StrAppend(&many, "host:", 7000 + i, "\n");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "names no server"},
      {"# a:1\n \n", "names no server"},
      {"a:1\nb\n", "line 2"},
      {"a:1\n\n# x\nb:99999\n", "line 4"},
      {"a:1 b:2\n", "line 1"},
      {"a:0\n", "port 0"},
      {":7400\n", "line 1"},
      {std::string("a:1\nb\0:2\n", 9), "line 2"},
      {absl::StrCat(std::string(600, 'a'), ":1\n"), "line 1"},
      {"a:1\nb:1\n# c\nA:1\n", "lines 1 and 4 name the same server"},
      {"[::1]:1\n[0:0::1]:1\n", "lines 1 and 2 name the same server"},
      {many, "names 256 servers: a cluster has at most 255"}};
  for (const auto& [text, why] : cases) {
    const absl::Status status = ParseClusterFile(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why)) << text;
  }
  EXPECT_EQ(Parse(many.substr(0, many.rfind("host:"))).servers.size(), 255u);
}

TEST(ClusterFileTest, ServerFindsItsPlace) {
  const ClusterMap map = Parse("a:1\nb:1\n127.0.0.1:1\n");
  const absl::StatusOr<transport::ServerPlace> place = PlaceOf(map, {"B", 1});
  ASSERT_TRUE(place.ok()) << place.status();
  EXPECT_EQ(place->server_number, 2u);
  EXPECT_EQ(place->servers_count, 3u);
  EXPECT_EQ(place->view, map.view);
  EXPECT_EQ(PlaceOf(map, {"127.0.0.1", 1})->server_number, 3u);
  const absl::Status none = PlaceOf(map, {"c", 1}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(none));
  EXPECT_THAT(std::string(none.message()), HasSubstr("no line c:1"));
  EXPECT_FALSE(PlaceOf(map, {"a", 2}).ok()) << "another port";
}

// Goal: files that mean the same have one view, all others have others.
TEST(ViewTest, NamesTheListAndNothingElse) {
  const uint64_t view = Parse("a:1\nb:2\n").view;
  EXPECT_NE(view, 0u);
  EXPECT_EQ(Parse("#x\nA:1 # first\n\nb:2").view, view);
  for (const char* other : {"b:2\na:1\n", "a:1\n", "a:1\nb:2\nc:3\n", "a:1\nb:3\n", "a:1\nc:2\n"}) {
    EXPECT_NE(Parse(other).view, view) << other;
  }
  EXPECT_EQ(transport::ViewName(0), "none");
  EXPECT_EQ(transport::ViewName(0x1f), "000000000000001f");
}

TEST(ServerPlaceTest, WhatMakesNoSenseIsRefused) {
  EXPECT_FALSE(WhyInvalid(transport::ServerPlace{}).has_value());
  EXPECT_FALSE(WhyInvalid(transport::ServerPlace{5, 255, 255}).has_value());
  for (const transport::ServerPlace& place : std::vector<transport::ServerPlace>{
           {5, 0, 3}, {5, 4, 3}, {5, 1, 256}, {5, 0, 0}, {0, 1, 2}}) {
    EXPECT_TRUE(WhyInvalid(place).has_value()) << place.server_number;
  }
}

ClusterAnswer AnswerOf(const ClusterMap& map) {
  ClusterAnswer answer;
  answer.place = {map.view, 2, static_cast<uint32_t>(map.servers.size())};
  answer.generation = 99;
  answer.segments_count = 4;
  answer.servers = map.servers;
  return answer;
}

TEST(ClusterAnswerTest, ComesBack) {
  const ClusterMap map = Parse("a:1\nb:2\n[::1]:3\n");
  const auto parsed = ParseClusterAnswer(EncodeClusterAnswer(AnswerOf(map)));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->place, AnswerOf(map).place);
  EXPECT_EQ(parsed->generation, 99u);
  EXPECT_EQ(parsed->segments_count, 4u);
  EXPECT_EQ(ViewOf(parsed->servers), map.view);
}

TEST(ClusterAnswerTest, BytesThatMakeNoSenseAreRefused) {
  const std::string bytes = EncodeClusterAnswer(AnswerOf(Parse("a:1\nb:2\n")));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseClusterAnswer(bytes.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(ParseClusterAnswer(bytes + "x").ok());
  // No byte may change but those of what the view does not cover.
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool is_generation =
        i >= offsetof(ClusterHeader, generation) && i < offsetof(ClusterHeader, server_number);
    const bool is_segments =
        i >= offsetof(ClusterHeader, segments_count) && i < offsetof(ClusterHeader, reserved0);
    if (is_generation || is_segments) continue;
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x40);
    EXPECT_FALSE(ParseClusterAnswer(changed).ok()) << "byte " << i;
  }
  std::string no_generation = bytes;
  std::fill_n(no_generation.begin() + offsetof(ClusterHeader, generation), 8, '\0');
  EXPECT_FALSE(ParseClusterAnswer(no_generation).ok());
}

}  // namespace
}  // namespace acre::kvs
