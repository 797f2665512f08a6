// What a connection may ask about the locks of buckets, byte by byte, and the home behind it, where nobody has joined. Those
// who join: tests/joining_test.cc, tests/updates_test.cc.

#include "server/lock_home.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvs/lock_wire.h"
#include "kvs/segment_layout.h"
#include "kvs/table.h"
#include "kvs/wire.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "server/lock_seat.h"
#include "server/view_check.h"
#include "transport/fabric.h"
#include "transport/rpc.h"
#include "transport/shm/shm_fabric.h"
#include "transport/tcp/tcp_fabric.h"
#include "transport/wire_bytes.h"

namespace acre::server {
namespace {

using kvs::Method;
using testing::HasSubstr;

constexpr uint64_t kView = 7;
constexpr uint32_t kNobody = 12345;

class Next : public transport::RpcHandler {
 public:
  Task<absl::Status> Handle(transport::RpcContext* context) override {
    last_method = context->method;
    co_return absl::OkStatus();
  }
  uint16_t last_method = 0;
};

std::string BytesOf(const auto& wire) {
  std::string bytes;
  transport::AppendWire(&bytes, wire);
  return bytes;
}
std::string KeysRequest(uint32_t lock_id, uint8_t ticket_byte) {
  kvs::LockKeysRequest request{lock_id, 0, {}};
  request.ticket.fill(ticket_byte);
  return BytesOf(request);
}

// A home on shm or tcp. Its ticket is all of kTicketByte.
class LockHomeTest : public testing::TestWithParam<const char*> {
 protected:
  static constexpr uint8_t kTicketByte = 0x5a;

  void SetUp() override {
    if (std::string(GetParam()) == "shm") {
      auto fabric = transport::ShmFabric::Create({.clock = &clock_});
      ASSERT_TRUE(fabric.ok()) << fabric.status();
      fabric_ = *std::move(fabric);
    } else {
      auto fabric = transport::TcpFabric::Create({.clock = &clock_});
      ASSERT_TRUE(fabric.ok()) << fabric.status();
      fabric_ = *std::move(fabric);
    }
    transport::RegionOptions options;
    options.region_id = 1;
    options.size_bytes = kvs::kSegmentBytesMin;
    options.peer_rights = transport::kRightsAll;
    auto region = fabric_->CreateRegion(options);
    ASSERT_TRUE(region.ok()) << region.status();
    region_ = *std::move(region);
    regions_ = {region_.get()};
    auto table = kvs::Table::Create({}, regions_);
    ASSERT_TRUE(table.ok()) << table.status();
    table_ = *std::move(table);
    LockHome::Options home;
    home.scheduler = &scheduler_;
    home.fabric = fabric_.get();
    home.regions = regions_;
    home.table = table_.get();
    home.next_region_id = [this] { return has_ids_ ? next_region_id_++ : 0; };
    home.fill_random = [](absl::Span<uint8_t> bytes) {
      std::fill(bytes.begin(), bytes.end(), kTicketByte);
    };
    home.view = kView;
    options_ = home;
    auto made = LockHome::Create(home);
    ASSERT_TRUE(made.ok()) << made.status();
    home_ = *std::move(made);
  }
  std::unique_ptr<LockSeat> Seat(bool has_home = true, bool is_of_fabric = true) {
    LockSeatContext context;
    context.home = has_home ? home_.get() : nullptr;
    if (is_of_fabric) context.regions = {region_.get()};
    context.check_view = ViewCheck(kView);
    auto seat = std::make_unique<LockSeat>(context);
    seat->Attach(/*queue_pair=*/nullptr, &next_);
    return seat;
  }
  absl::Status Ask(LockSeat* seat, Method method, const std::string& request,
                   uint64_t view = kView) {
    transport::RpcContext context;
    context.method = static_cast<uint16_t>(method);
    context.view = view;
    context.request = request;
    return scheduler_.RunUntilDone(seat->Handle(&context));
  }

  RealClock clock_;
  Scheduler scheduler_{{.clock = &clock_}};
  std::unique_ptr<transport::Fabric> fabric_;
  std::unique_ptr<transport::MemoryRegion> region_;
  std::vector<transport::MemoryRegion*> regions_;
  std::unique_ptr<kvs::Table> table_;
  bool has_ids_ = true;
  uint32_t next_region_id_ = 100;
  LockHome::Options options_;
  std::unique_ptr<LockHome> home_;
  Next next_;
};

INSTANTIATE_TEST_SUITE_P(All, LockHomeTest, testing::Values("shm", "tcp"),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(LockHomeTest, WhoIsNobodyIsToldSo) {
  kvs::LockKeysRequest who{kNobody, 0, {}};
  who.ticket.fill(kTicketByte);
  EXPECT_TRUE(absl::IsNotFound(home_->Sit(who, nullptr).status()));
  who.ticket[3] ^= 1;
  const absl::Status wrong = home_->Sit(who, nullptr).status();
  EXPECT_TRUE(absl::IsPermissionDenied(wrong)) << wrong;
  EXPECT_TRUE(absl::IsNotFound(home_->EndpointOf(kNobody).status()));
  EXPECT_TRUE(absl::IsNotFound(home_->Arm(kNobody, getpid())));
  if (fabric_->device().can_map) {
    const absl::Status hidden = home_->Arm(kNobody, /*pid=*/0);
    EXPECT_TRUE(absl::IsPermissionDenied(hidden)) << hidden;
    EXPECT_THAT(std::string(hidden.message()), HasSubstr("another container"));
  }
  // Neither is anybody's end.
  home_->Leave(kNobody);
  home_->OnUnreachable(kNobody, kNobody + 1);
  scheduler_.RunOnce();
  scheduler_.RunOnce();
  const LockHome::Counts counts = home_->counts();
  EXPECT_EQ(counts.participants + counts.joined + counts.fenced + counts.killed, 0u);
}

TEST_P(LockHomeTest, StopsAtOnceAndTwice) {
  home_->Leave(kNobody);
  home_->OnUnreachable(kNobody, kNobody + 1);
  home_->Stop();
  home_->Stop();
  EXPECT_EQ(home_->counts().participants, 0u);
}

// Goal: a home that cannot be made says why, and leaves nothing.
TEST_P(LockHomeTest, NeedsARegionId) {
  home_.reset();
  has_ids_ = false;
  const auto home = LockHome::Create(options_);
  EXPECT_TRUE(absl::IsResourceExhausted(home.status())) << home.status();
  has_ids_ = true;
  EXPECT_TRUE(LockHome::Create(options_).ok());
}

TEST_P(LockHomeTest, ASeatOfAnotherViewIsOutOfRange) {
  const auto seat = Seat();
  for (const Method method :
       {Method::kLockIntents, Method::kLockRegions, Method::kLockPeer, Method::kLockPeerLost}) {
    EXPECT_TRUE(
        absl::IsOutOfRange(Ask(seat.get(), method, KeysRequest(kNobody, kTicketByte), kView + 1)));
  }
}

TEST_P(LockHomeTest, WhoMayNotIsRefusedInWords) {
  for (const bool has_home : {true, false}) {
    const auto seat = Seat(has_home, /*is_of_fabric=*/!has_home);
    const absl::Status refused =
        Ask(seat.get(), Method::kLockIntents, KeysRequest(kNobody, kTicketByte));
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("writes by himself"));
  }
}

// Goal: who does not sit learns of no key and of no other, and ends nobody.
TEST_P(LockHomeTest, OnlyWhoSitsIsAnswered) {
  const auto seat = Seat();
  EXPECT_TRUE(
      absl::IsNotFound(Ask(seat.get(), Method::kLockIntents, KeysRequest(kNobody, kTicketByte))));
  EXPECT_TRUE(absl::IsPermissionDenied(
      Ask(seat.get(), Method::kLockIntents, KeysRequest(kNobody, kTicketByte + 1))));
  const std::string peer = BytesOf(kvs::LockPeerRequest{kNobody, 0});
  for (const auto& [method, request] :
       {std::pair(Method::kLockRegions, KeysRequest(kNobody, kTicketByte)),
        std::pair(Method::kLockPeer, peer), std::pair(Method::kLockPeerLost, peer)}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(Ask(seat.get(), method, request)));
  }
}

TEST_P(LockHomeTest, NonsenseIsRefusedAndAllElseGoesOn) {
  const auto seat = Seat();
  const std::string whole = KeysRequest(kNobody, kTicketByte);
  for (const std::string& request : {std::string(), whole.substr(1), whole + "x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Ask(seat.get(), Method::kLockIntents, request)));
  }
  EXPECT_TRUE(Ask(seat.get(), Method::kPut, "").ok());
  EXPECT_EQ(next_.last_method, static_cast<uint16_t>(Method::kPut));
  EXPECT_TRUE(Ask(seat.get(), static_cast<Method>(999), "").ok());
  EXPECT_EQ(next_.last_method, 999);
}

}  // namespace
}  // namespace acre::server
