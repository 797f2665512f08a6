// SlotRepair by hand: every record that it must apply, and every one that it must not.

#include "kvs/slot_repair.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kvs/redo.h"
#include "kvs/remote_writer_test_util.h"
#include "lock/lock_test_mesh.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"
#include "transport/conformance/test_fabric.h"

namespace acre::kvs {
namespace {

constexpr uint32_t kDead = 7;
constexpr char kKey[] = "a key";

class SlotRepairTest : public ::testing::Test {
 protected:
  SlotRepairTest() {
    auto fabric = transport::MakeTestFabric(&clock_);
    CHECK(fabric.ok()) << fabric.status();
    node_ = std::make_unique<LockNode>(*std::move(fabric), &clock_, 1);
    MakeTableRegion(node_.get());
    home_ = std::make_unique<TestHome>(node_.get());
    Put("old");
    slot_ = home_->Find(kKey).slot;
    old_ = slot_->first();
    lock_ = home_->segment().LockOf(home_->HomeOf(kKey)).address;
    address_ = GlobalAddress(lock_.region_id(), OffsetOf(slot_));
    intents_ = std::make_unique<SharedWord[]>(LockIntentsBytes(kTestDescriptors) / kWordBytes);
    repair_ = std::make_unique<SlotRepair>(home_->table(), [this](uint32_t process_id) {
      if (process_id != kDead) return SlotRepair::Intents();
      return SlotRepair::Intents{intents_.get(), kTestDescriptors};
    });
  }
  ~SlotRepairTest() override {
    home_.reset();
    node_->Close();
  }

  void Put(const std::string& value) {
    const absl::Status status = node_->scheduler().RunUntilDone(home_->writer()->Put(kKey, value));
    CHECK(status.ok()) << status;
  }
  uint32_t OffsetOf(const Slot* slot) const {
    return static_cast<uint32_t>(reinterpret_cast<const char*>(slot) -
                                 reinterpret_cast<const char*>(home_->segment().words()));
  }
  // Of an update to `value`, so many above the version that stands there.
  Redo RedoOf(RemoteWord word, const std::string& value, uint64_t above = 2) const {
    const SlotContent content = SlotContent::Inline(kKey, value);
    return Redo::Of(word, address_, content.Word(old_.version() + above, old_.home_is_previous()),
                    content.body);
  }
  void Announce(RemoteWord word, const Redo& redo) {
    CopyToShared(intents_.get() + RedoOffset(word) / kWordBytes, &redo.word, kRedoWords,
                 CopyOrder::kAscending);
  }
  void Repair(const std::vector<RemoteWord>& dead) { repair_->RepairRemote(lock_, dead); }
  void Expect(const std::string& value, uint64_t version) {
    SlotCopy copy;
    LoadSlot(*slot_, &copy);
    ASSERT_TRUE(copy.IsConsistent());
    EXPECT_EQ(copy.inline_key(), kKey);
    EXPECT_EQ(copy.inline_value(), value);
    EXPECT_EQ(copy.first().version(), version);
    EXPECT_EQ(copy.first().home_is_previous(), old_.home_is_previous());
  }
  // Nothing was done, and that was noticed.
  void ExpectRefused(const Redo& redo) {
    const uint64_t refused = repair_->refused_count();
    Announce(word_, redo);
    Repair({word_});
    Expect("old", old_.version());
    EXPECT_EQ(repair_->refused_count(), refused + 1);
    EXPECT_EQ(repair_->applied_count(), 0u);
  }

  RealClock clock_;
  std::unique_ptr<LockNode> node_;
  std::unique_ptr<TestHome> home_;
  Slot* slot_ = nullptr;
  SlotWord old_;
  GlobalAddress lock_;
  GlobalAddress address_;
  std::unique_ptr<SharedWord[]> intents_;
  std::unique_ptr<SlotRepair> repair_;
  const RemoteWord word_ = RemoteWord(kDead, 3, 9);
};

TEST_F(SlotRepairTest, FinishesWhatWasAnnouncedHoweverFarItGot) {
  const Redo redo = RedoOf(word_, "new");
  const uint64_t odd = old_.MadeOdd().bits();
  const uint64_t even = redo.first;
  // First and last word, as torn WRITEs leave them.
  const std::pair<uint64_t, uint64_t> ends[] = {{old_.bits(), old_.bits()},
                                                {odd, old_.bits()},
                                                {old_.bits(), odd},
                                                {odd, odd},
                                                {even, odd},
                                                {odd, even}};
  for (const auto& [first, last] : ends) {
    Announce(word_, redo);
    slot_->words[0].Store(first, std::memory_order_relaxed);
    slot_->words[kSlotWords - 1].Store(last, std::memory_order_relaxed);
    const uint64_t applied = repair_->applied_count();
    Repair({word_});
    EXPECT_EQ(repair_->applied_count(), applied + 1);
    Expect("new", old_.version() + 2);
    Repair({word_});
    EXPECT_EQ(repair_->applied_count(), applied + 1) << "done again";
  }
  EXPECT_EQ(repair_->refused_count(), 0u);
}

// Goal: whoever came later is not undone.
TEST_F(SlotRepairTest, WhatWasDoneIsNotDoneAgainOverWhatCameLater) {
  const Redo redo = RedoOf(word_, "new");
  Announce(word_, redo);
  Repair({word_});
  Put("later");
  Repair({word_});
  Expect("later", old_.version() + 4);
  EXPECT_EQ(repair_->applied_count(), 1u);
  EXPECT_EQ(repair_->refused_count(), 0u);
}

// Goal: of several that died side by side the last that was inside is finished, in the order of the queue.
TEST_F(SlotRepairTest, SeveralDeadAreTakenInOrder) {
  const RemoteWord second(kDead, 4, 1);
  const RemoteWord waiting(kDead, 5, 1);
  Announce(word_, RedoOf(word_, "one"));
  Announce(second, RedoOf(second, "two", 4));
  Repair({word_, second, waiting});
  Expect("two", old_.version() + 4);
  EXPECT_EQ(repair_->applied_count(), 2u);
}

TEST_F(SlotRepairTest, NothingIsDoneWithoutAWholeRecordOfThatAcquisition) {
  const Redo redo = RedoOf(word_, "new");
  // Every word that may be missing of it.
  for (size_t missing = 0; missing < kRedoWords; ++missing) {
    Redo torn = redo;
    (&torn.word)[missing] ^= 1;
    Announce(word_, torn);
    Repair({word_});
  }
  Announce(word_, redo);
  Repair({word_.Next()});
  Repair({RemoteWord(kDead, kTestDescriptors, 1), RemoteWord(kDead + 1, 3, 9)});
  repair_->RepairRemote(GlobalAddress(kTestLockRegion + 1, lock_.offset_bytes()), {&word_, 1});
  repair_->RepairRemote(GlobalAddress(lock_.region_id(), lock_.offset_bytes() + 8), {&word_, 1});
  repair_->RepairRemote(GlobalAddress(lock_.region_id(), 0), {&word_, 1});
  repair_->RepairRemote(GlobalAddress(lock_.region_id(), UINT32_MAX & ~255u), {&word_, 1});
  Expect("old", old_.version());
  EXPECT_EQ(repair_->refused_count(), 0u);
}

// Goal: records that are whole and lie.
TEST_F(SlotRepairTest, RecordsThatMakeNoSenseAreRefused) {
  const auto with = [this](GlobalAddress slot, SlotWord first, const std::string& key = kKey) {
    return Redo::Of(word_, slot, first, SlotContent::Inline(key, "new").body);
  };
  const uint64_t version = old_.version() + 2;
  const bool previous = old_.home_is_previous();
  const SlotWord good(version, SlotKind::kInline, previous, 5, 3);
  // Another bucket's slot, no slot, another region's.
  for (const int64_t off : {-64 * 4, 256, 8, -64 * 3, 4096}) {
    const auto offset = static_cast<uint32_t>(int64_t{lock_.offset_bytes()} + 64 + off);
    if (offset - lock_.offset_bytes() <= 192 && offset % 64 == 0) continue;
    ExpectRefused(with(GlobalAddress(lock_.region_id(), offset), good));
  }
  ExpectRefused(with(GlobalAddress(lock_.region_id() + 1, address_.offset_bytes()), good));
  // Versions that do not follow.
  ExpectRefused(with(address_, SlotWord(version + 2, SlotKind::kInline, previous, 5, 3)));
  ExpectRefused(with(address_, SlotWord(old_.version() + 1, SlotKind::kInline, previous, 5, 3)));
  // Another kind, another key, lengths beyond the slot, a record that would be another home's.
  ExpectRefused(with(address_, SlotWord(version, SlotKind::kOutOfLine, previous, 5, 3)));
  ExpectRefused(with(address_, SlotWord(version, SlotKind::kEmpty, previous, 0, 0)));
  ExpectRefused(with(address_, SlotWord(version, SlotKind::kInline, previous, 4, 3)));
  ExpectRefused(with(address_, good, "b key"));
  ExpectRefused(with(address_, SlotWord(version, SlotKind::kInline, previous, 5, 44)));
  ExpectRefused(with(address_, SlotWord(version, SlotKind::kInline, !previous, 5, 3)));
}

}  // namespace
}  // namespace acre::kvs
