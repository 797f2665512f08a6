#include "bench/workload.h"

#include <array>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace acre::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PresetWorkloadTest, MixesAreThoseOfYcsb) {
  const Workload d = PresetWorkload("D").value();
  EXPECT_EQ(d.read_share, 0.95);
  EXPECT_EQ(d.insert_share, 0.05);
  EXPECT_EQ(d.distribution, Distribution::kLatest);
  for (const char* name : {"a", "b", "c", "f"}) {
    const Workload workload = PresetWorkload(name).value();
    EXPECT_EQ(workload.read_share + workload.update_share + workload.read_modify_write_share, 1);
    EXPECT_EQ(workload.distribution, Distribution::kZipfian);
    EXPECT_EQ(workload.zipfian_constant, 0.99);
  }
}

TEST(PresetWorkloadTest, ScansAreRefusedWithTheReason) {
  EXPECT_THAT(PresetWorkload("e").status().message(), HasSubstr("ordered index"));
  EXPECT_THAT(PresetWorkload("g").status().message(), HasSubstr("a, b, c, d, f"));
  EXPECT_THAT(LoadWorkload("/no/such/file").status().message(), HasSubstr("/no/such/file"));
}

TEST(ParseWorkloadTest, PropertyFileIsUnderstood) {
  const Workload workload = ParseWorkload("my.properties", R"(
# A comment
! Another
recordcount=5000
operationcount = 100000
workload=site.ycsb.workloads.CoreWorkload
readproportion: 0.5
updateproportion=0
scanproportion=0
insertproportion=0.25
readmodifywriteproportion=0.25
requestdistribution=latest
fieldcount=4
fieldlength=8
zipfianconstant=0.8
hotspotdatafraction=0.2
)")
                                .value();
  EXPECT_EQ(workload.name, "my.properties");
  EXPECT_EQ(workload.records_count, 5000u);
  EXPECT_EQ(workload.operations_count, 100'000u);
  EXPECT_EQ(workload.read_share, 0.5);
  EXPECT_EQ(workload.update_share, 0);
  EXPECT_EQ(workload.insert_share, 0.25);
  EXPECT_EQ(workload.read_modify_write_share, 0.25);
  EXPECT_EQ(workload.distribution, Distribution::kLatest);
  EXPECT_EQ(workload.zipfian_constant, 0.8);
  EXPECT_EQ(workload.value_bytes, 32u);
  EXPECT_THAT(workload.unknown_properties, ElementsAre("hotspotdatafraction"));
}

struct BadFile {
  const char* text;
  const char* why;
};
class BadWorkloadTest : public testing::TestWithParam<BadFile> {};

TEST_P(BadWorkloadTest, IsRefusedWithTheReason) {
  const absl::Status status = ParseWorkload("w", GetParam().text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr(GetParam().why));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadWorkloadTest,
    testing::Values(
        BadFile{"readproportion=0.95\nscanproportion=0.05\nupdateproportion=0", "ordered index"},
        BadFile{"readproportion=0.5\nupdateproportion=0.4", "add up to 0.9"},
        BadFile{"\nreadproportion=half", "w:2: readproportion=half"},
        BadFile{"readproportion=1.5", "from 0 to 1"}, BadFile{"readproportion=nan", "from 0 to 1"},
        BadFile{"recordcount=-1", "whole number"}, BadFile{"recordcount=0", "whole number"},
        BadFile{"requestdistribution=hotspot", "uniform, zipfian, latest"},
        BadFile{"zipfianconstant=1", "between 0 and 1"}, BadFile{"nonsense", "NAME=VALUE"}));

TEST(OperationSourceTest, KindsComeInTheirShares) {
  Workload workload = Workload();
  workload.read_share = 0.4;
  workload.update_share = 0.3;
  workload.insert_share = 0.2;
  workload.read_modify_write_share = 0.1;
  const auto records = InsertedRecords::Create(1000).value();
  OperationSource source(workload, 1000, records.get(), 1);
  std::array<int, 4> seen = {};
  for (int i = 0; i < 100'000; ++i) {
    const Operation operation = source.Next();
    ++seen[static_cast<size_t>(operation.kind)];
    if (operation.kind == OperationKind::kInsert) {
      EXPECT_EQ(operation.record, records->count());
      records->Finish(operation.record, true);
    } else {
      EXPECT_LT(operation.record, records->count());
    }
  }
  EXPECT_NEAR(seen[0], 40'000, 1'000);
  EXPECT_NEAR(seen[1], 30'000, 1'000);
  EXPECT_NEAR(seen[2], 20'000, 1'000);
  EXPECT_NEAR(seen[3], 10'000, 1'000);
}

// Goal: who may not begin an insert does not stand still.
TEST(OperationSourceTest, ReadsTakeThePlaceOfInsertsThatAreTooFarAhead) {
  Workload workload = Workload();
  workload.insert_share = 1;
  const auto records = InsertedRecords::Create(10).value();
  OperationSource source(workload, 10, records.get(), 1);
  for (uint64_t i = 0; i < InsertedRecords::kAheadMax; ++i) {
    ASSERT_EQ(source.Next().kind, OperationKind::kInsert);
  }
  const Operation late = source.Next();
  EXPECT_EQ(late.kind, OperationKind::kRead);
  EXPECT_LT(late.record, 10u);
  records->Finish(10, true);
  EXPECT_EQ(source.Next().kind, OperationKind::kInsert);
}

TEST(OperationSourceTest, ReadOnlyMixOnlyReads) {
  const auto records = InsertedRecords::Create(10).value();
  OperationSource source(PresetWorkload("c").value(), 10, records.get(), 1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 10'000; ++i) {
    const Operation operation = source.Next();
    ASSERT_EQ(operation.kind, OperationKind::kRead);
    seen.insert(operation.record);
  }
  EXPECT_EQ(seen.size(), 10u);
}

}  // namespace
}  // namespace acre::bench
