// What a connection may ask about locks, byte by byte: nonsense is refused, the rest goes where it belongs.

#include "server/lock_handler.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/hash.h"
#include "kvs/limits.h"
#include "kvs/wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/wire_bytes.h"

namespace acre::server {
namespace {

using kvs::Method;
using testing::HasSubstr;

class Next : public transport::RpcHandler {
 public:
  Task<absl::Status> Handle(transport::RpcContext* context) override {
    last_method = context->method;
    co_return absl::OkStatus();
  }
  uint16_t last_method = 0;
};

class LockHandlerTest : public testing::Test {
 protected:
  absl::Status Ask(Method method, const std::string& request, uint64_t view = 7) {
    context_ = transport::RpcContext();
    context_.method = static_cast<uint16_t>(method);
    context_.view = view;
    context_.request = request;
    return scheduler_.RunUntilDone(handler_.Handle(&context_));
  }
  static std::string LockBytes(uint64_t ticket, uint64_t wait_ns, const std::string& name) {
    std::string bytes;
    transport::AppendWire(&bytes, kvs::LockHeader{ticket, wait_ns});
    return bytes + name;
  }
  static std::string Word(uint64_t word, const std::string& rest = "") {
    std::string bytes;
    transport::AppendWire(&bytes, word);
    return bytes + rest;
  }
  uint64_t Token() const { return kvs::ParseLockAnswer(context_.response).value().token; }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_}};
  NamedLocks locks_{&clock_, [] { return uint64_t{100}; }};
  LockThread thread_{&scheduler_, locks_.arena(), {}};
  Next next_;
  LockHandlerContext of_{&locks_, &thread_, &next_, ViewCheck(7), kvs::KeyShare{}};
  LockHandler handler_{of_, "client_1"};
  transport::RpcContext context_;
};

TEST_F(LockHandlerTest, LocksUnlocksListsAndForces) {
  EXPECT_TRUE(Ask(Method::kLock, LockBytes(1, 0, "a")).ok());
  EXPECT_EQ(Token(), 100u);
  EXPECT_TRUE(Ask(Method::kLock, LockBytes(2, 0, "a")).ok());
  EXPECT_EQ(Token(), 0u);
  EXPECT_TRUE(Ask(Method::kLocks, "").ok());
  EXPECT_THAT(context_.response, HasSubstr("held_by client_1 token 100 "));
  EXPECT_TRUE(absl::IsFailedPrecondition(Ask(Method::kForceUnlock, Word(99, "a"))));
  EXPECT_TRUE(Ask(Method::kForceUnlock, Word(100, "a")).ok());
  while (!absl::IsNotFound(Ask(Method::kUnlock, Word(1)))) scheduler_.RunOnce();
  EXPECT_TRUE(absl::IsNotFound(Ask(Method::kForceUnlock, Word(100, "a"))));
}

TEST_F(LockHandlerTest, NonsenseIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kLock, "")));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kLock, LockBytes(1, 0, "").substr(0, 15))));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kLock, LockBytes(0, 0, "a")))) << "ticket 0";
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kLock, LockBytes(1, 0, "")))) << "no name";
  EXPECT_TRUE(absl::IsInvalidArgument(
      Ask(Method::kLock, LockBytes(1, 0, std::string(kvs::kKeyBytesMax + 1, 'x')))));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kUnlock, "1234567")));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kUnlock, "123456789")));
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kForceUnlock, "1234567")));
  EXPECT_TRUE(Ask(Method::kLock, LockBytes(1, 0, "a")).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(Ask(Method::kLock, LockBytes(1, 0, "b"))))
      << "a ticket in use";
}

TEST_F(LockHandlerTest, OtherViewsAndOtherServersNamesAreOutOfRange) {
  for (const Method method :
       {Method::kLock, Method::kUnlock, Method::kLocks, Method::kForceUnlock}) {
    EXPECT_TRUE(absl::IsOutOfRange(Ask(method, LockBytes(1, 0, "a"), /*view=*/8)));
  }
  LockHandlerContext second = of_;
  second.share = {.servers_count = 2, .server_index = 1};
  LockHandler handler(second, "client_2");
  int ours = 0;
  for (int i = 0; i < 40; ++i) {
    const std::string request =
        LockBytes(static_cast<uint64_t>(i + 1), 0, absl::StrCat("name ", i));
    context_ = transport::RpcContext();
    context_.method = static_cast<uint16_t>(Method::kLock);
    context_.view = 7;
    context_.request = request;
    const absl::Status status = scheduler_.RunUntilDone(handler.Handle(&context_));
    EXPECT_TRUE(status.ok() || absl::IsOutOfRange(status)) << status;
    ours += status.ok() ? 1 : 0;
  }
  EXPECT_GT(ours, 5);
  EXPECT_LT(ours, 35);
}

TEST_F(LockHandlerTest, AllElseGoesOn) {
  EXPECT_TRUE(Ask(Method::kPut, "").ok());
  EXPECT_EQ(next_.last_method, static_cast<uint16_t>(Method::kPut));
  EXPECT_TRUE(Ask(static_cast<Method>(999), "").ok());
  EXPECT_EQ(next_.last_method, 999);
}

}  // namespace
}  // namespace acre::server
