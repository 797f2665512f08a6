#include "kvs/key_share.h"

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace acre::kvs {
namespace {

constexpr uint64_t kKeys = 20'000;

uint64_t HashOf(uint64_t i) { return HashKey(absl::StrCat("key", i)); }

TEST(KeyShareTest, EveryKeyHasOneServer) {
  for (const uint64_t servers : {1u, 2u, 3u, 7u, 254u, 255u}) {
    for (uint64_t i = 0; i < kKeys; i += 17) {
      uint64_t holders = 0;
      for (uint64_t index = 0; index < servers; ++index) {
        holders += KeyShare{servers, index}.Holds(HashOf(i));
      }
      ASSERT_EQ(holders, 1u) << servers << " servers, key " << i;
    }
  }
}

// Goal: the directory of the table is the concatenation of those of the servers.
TEST(KeyShareTest, ServersSegmentsMakeUpTheDirectoryOfTheTable) {
  for (const uint64_t servers : {1u, 2u, 3u, 7u, 255u}) {
    for (const uint64_t segments : {1u, 2u, 5u, 1024u}) {
      for (uint64_t i = 0; i < kKeys; i += 7) {
        const uint64_t hash = HashOf(i);
        const uint64_t server = KeyShare::ServerIndex(hash, servers);
        const KeyShare share{servers, server};
        ASSERT_EQ(server * segments + share.SegmentOf(hash, segments),
                  SegmentIndex(hash, servers * segments))
            << servers << " servers with " << segments << " segments, hash " << hash;
      }
    }
  }
}

TEST(KeyShareTest, SharesAndTheirSegmentsAreEven) {
  constexpr uint64_t kServers = 3;
  constexpr uint64_t kSegments = 4;
  std::vector<uint64_t> counts(kServers * kSegments);
  for (uint64_t i = 0; i < kKeys; ++i) {
    const uint64_t hash = HashOf(i);
    const uint64_t server = KeyShare::ServerIndex(hash, kServers);
    ++counts[server * kSegments + KeyShare{kServers, server}.SegmentOf(hash, kSegments)];
  }
  for (const uint64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 1666, 200);
}

// Goal: also the hashes at the ends have a segment.
TEST(KeyShareTest, EndsOfTheHashesAreInBounds) {
  for (const uint64_t servers : {1u, 3u, 255u}) {
    for (const uint64_t hash : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 40}) {
      const uint64_t server = KeyShare::ServerIndex(hash, servers);
      ASSERT_LT(server, servers);
      EXPECT_LT((KeyShare{servers, server}.SegmentOf(hash, 1024)), 1024u);
    }
  }
}

TEST(KeyShareTest, NotOurKeyNamesItsServer) {
  const uint64_t hash = ~uint64_t{0};
  const absl::Status status = NotOurKey({3, 0}, hash);
  EXPECT_TRUE(absl::IsOutOfRange(status));
  EXPECT_EQ(status.message(), "the key belongs to server 3 of 3, and this is server 1");
}

}  // namespace
}  // namespace acre::kvs
