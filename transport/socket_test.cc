#include "transport/socket.h"

#include "gtest/gtest.h"

namespace acre::transport {
namespace {

TEST(SocketTest, HostPortsThatAreRight) {
  const auto plain = ParseHostPort("node1:7400");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->host, "node1");
  EXPECT_EQ(plain->port, 7400);
  EXPECT_EQ(plain->ToString(), "node1:7400");
  const auto six = ParseHostPort("[::1]:0");
  ASSERT_TRUE(six.ok());
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->ToString(), "[::1]:0");
}

TEST(SocketTest, HostPortsThatAreWrong) {
  for (const char* text : {"", "7400", "node1", "node1:", ":7400", "node1:x", "node1:65536",
                           "node1:-1", "::1:7400", "[::1:7400", "::1]:7400", "[]:7400"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseHostPort(text).status())) << text;
  }
}

TEST(SocketTest, LoopbackIsKnown) {
  const auto is_loopback = [](const char* host) {
    return Resolve({host, 1}).value().front().is_loopback();
  };
  EXPECT_TRUE(is_loopback("127.0.0.1"));
  EXPECT_TRUE(is_loopback("127.9.9.9"));
  EXPECT_TRUE(is_loopback("::1"));
  EXPECT_FALSE(is_loopback("0.0.0.0"));
  EXPECT_FALSE(is_loopback("::"));
  EXPECT_FALSE(is_loopback("10.0.0.1"));
}

TEST(SocketTest, PortThatIsInUseIsNamed) {
  const SocketAddress any = Resolve({"127.0.0.1", 0}).value().front();
  const auto first = BindSocket(any);
  ASSERT_TRUE(first.ok()) << first.status();
  const SocketAddress taken = LocalAddress(first->get());
  ASSERT_EQ(StartListening(first->get()), absl::OkStatus());
  const absl::Status status = BindSocket(taken).status();
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_NE(status.message().find(taken.ToString()), absl::string_view::npos) << status;
}

TEST(SocketTest, AddressesOfOthersCannotBeBound) {
  const auto fd = BindSocket(Resolve({"192.0.2.1", 1}).value().front());
  EXPECT_TRUE(absl::IsInvalidArgument(fd.status())) << fd.status();
}

}  // namespace
}  // namespace acre::transport
