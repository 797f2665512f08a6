#include "kvs/wire.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace acre::kvs {
namespace {

TEST(WireTest, PutComesBack) {
  const std::string key("k\0y", 3);
  const std::string value("v\0\0", 3);
  std::string head = "rubbish that is replaced";
  EncodePutHead(key, value, &head);
  const std::string bytes = head + value;
  const auto request = ParsePut(bytes);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->key, key);
  EXPECT_EQ(request->value, value);
}

TEST(WireTest, PutWhoseLengthsLieIsRefused) {
  std::string head;
  EncodePutHead("key", "value", &head);
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePut("").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePut(head.substr(0, 7)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePut(head).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePut(head + "value!").status()));
  // Two lengths whose sum wraps around 32 bits to the right one.
  const std::string wraps("\xff\xff\xff\xff\x04\0\0\0abc", 11);
  EXPECT_TRUE(absl::IsInvalidArgument(ParsePut(wraps).status()));
}

TEST(WireTest, MultiGetComesBack) {
  const std::vector<absl::string_view> keys = {"a", "", absl::string_view("\0\0", 2), "long key"};
  std::string request;
  EncodeMultiGet(keys, &request);
  const auto parsed = ParseMultiGet(request);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, keys);
}

TEST(WireTest, EveryCutOfAMultiGetIsRefused) {
  const std::vector<absl::string_view> keys = {"first", "second"};
  std::string request;
  EncodeMultiGet(keys, &request);
  for (size_t bytes = 0; bytes < request.size(); ++bytes) {
    EXPECT_FALSE(ParseMultiGet(request.substr(0, bytes)).ok()) << bytes;
  }
  EXPECT_FALSE(ParseMultiGet(request + "x").ok());
  EXPECT_FALSE(ParseMultiGet(std::string(8, '\0')).ok()) << "no keys";
  EXPECT_FALSE(ParseMultiGet(std::string(8, '\xff')).ok()) << "too many";
}

TEST(WireTest, MultiGetResponseComesBack) {
  std::string response;
  MultiGetResponse builder(&response);
  ASSERT_TRUE(builder.Add(absl::StatusCode::kOk, "value"));
  ASSERT_TRUE(builder.Add(absl::StatusCode::kNotFound, "left over from the key before"));
  ASSERT_TRUE(builder.Add(absl::StatusCode::kOk, ""));
  const auto answers = ParseMultiGetResponse(response, 3);
  ASSERT_TRUE(answers.ok()) << answers.status();
  ASSERT_EQ(answers->size(), 3u);
  EXPECT_EQ((*answers)[0].value, "value");
  EXPECT_EQ((*answers)[1].code, absl::StatusCode::kNotFound);
  EXPECT_EQ((*answers)[1].value, "");
  EXPECT_EQ((*answers)[2].code, absl::StatusCode::kOk);
  for (size_t bytes = 0; bytes < response.size(); ++bytes) {
    EXPECT_FALSE(ParseMultiGetResponse(response.substr(0, bytes), 3).ok()) << bytes;
  }
  EXPECT_FALSE(ParseMultiGetResponse(response, 2).ok()) << "more answers than were asked for";
}

TEST(WireTest, MultiGetResponseTakesWhatFits) {
  std::string response;
  MultiGetResponse builder(&response);
  const std::string value(kValueBytesMax, 'v');
  ASSERT_TRUE(builder.Add(absl::StatusCode::kOk, value));
  EXPECT_FALSE(builder.Add(absl::StatusCode::kOk, value));
  EXPECT_TRUE(builder.Add(absl::StatusCode::kNotFound, ""));
  const auto answers = ParseMultiGetResponse(response, 3);
  ASSERT_TRUE(answers.ok());
  EXPECT_EQ(answers->size(), 2u);
}

}  // namespace
}  // namespace acre::kvs
