#include "bench/workload.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "glog/logging.h"

namespace acre::bench {
namespace {

constexpr absl::string_view kNoScans =
    "workload E scans key ranges: that needs an ordered index, which Acre does not have; its table "
    "is "
    "a hash table. Choose a, b, c, d, f, or a property file without scans";

Workload Mix(absl::string_view name, double read, double update, double insert, double modify,
             Distribution distribution) {
  Workload workload;
  workload.name = std::string(name);
  workload.read_share = read;
  workload.update_share = update;
  workload.insert_share = insert;
  workload.read_modify_write_share = modify;
  workload.distribution = distribution;
  return workload;
}

// Gathers what a property file says before it is judged as a whole.
struct Properties {
  Workload workload;
  double scan_share = 0;
  uint64_t field_count = 10;  // Defaults of YCSB.
  uint64_t field_bytes = 100;
  bool names_fields = false;
};

using Setter = std::function<absl::Status(absl::string_view value, Properties* properties)>;

Setter Share(double Workload::*share) {
  return [share](absl::string_view value, Properties* properties) -> absl::Status {
    double number = 0;
    if (!absl::SimpleAtod(value, &number) || !(number >= 0 && number <= 1)) {
      return absl::InvalidArgumentError("a share is a number from 0 to 1");
    }
    properties->workload.*share = number;
    return absl::OkStatus();
  };
}

absl::Status ParseCount(absl::string_view value, uint64_t* count) {
  if (!absl::SimpleAtoi(value, count) || *count == 0) {
    return absl::InvalidArgumentError("it is a whole number above 0");
  }
  return absl::OkStatus();
}

Setter Count(absl::optional<uint64_t> Workload::*count) {
  return [count](absl::string_view value, Properties* properties) {
    uint64_t number = 0;
    absl::Status status = ParseCount(value, &number);
    if (status.ok()) properties->workload.*count = number;
    return status;
  };
}

Setter Field(uint64_t Properties::*field) {
  return [field](absl::string_view value, Properties* properties) {
    properties->names_fields = true;
    return ParseCount(value, &(properties->*field));
  };
}

absl::Status SetScanShare(absl::string_view value, Properties* properties) {
  if (!absl::SimpleAtod(value, &properties->scan_share)) {
    return absl::InvalidArgumentError("a share is a number from 0 to 1");
  }
  if (properties->scan_share > 0) return absl::InvalidArgumentError(kNoScans);
  return absl::OkStatus();
}

absl::Status SetDistribution(absl::string_view value, Properties* properties) {
  const absl::optional<Distribution> distribution = ParseDistribution(value);
  if (!distribution.has_value()) {
    return absl::InvalidArgumentError("it is one of uniform, zipfian, latest");
  }
  properties->workload.distribution = *distribution;
  return absl::OkStatus();
}

absl::Status SetZipfianConstant(absl::string_view value, Properties* properties) {
  double* const constant = &properties->workload.zipfian_constant;
  if (!absl::SimpleAtod(value, constant) || !(*constant > 0 && *constant < 1)) {
    return absl::InvalidArgumentError("it is a number between 0 and 1");
  }
  return absl::OkStatus();
}

absl::Status Ignore(absl::string_view, Properties*) { return absl::OkStatus(); }

const std::map<absl::string_view, Setter>& Setters() {
  static const auto* const setters = new std::map<absl::string_view, Setter>{
      {"readproportion", Share(&Workload::read_share)},
      {"updateproportion", Share(&Workload::update_share)},
      {"insertproportion", Share(&Workload::insert_share)},
      {"readmodifywriteproportion", Share(&Workload::read_modify_write_share)},
      {"scanproportion", SetScanShare},
      {"recordcount", Count(&Workload::records_count)},
      {"operationcount", Count(&Workload::operations_count)},
      {"fieldcount", Field(&Properties::field_count)},
      {"fieldlength", Field(&Properties::field_bytes)},
      {"requestdistribution", SetDistribution},
      {"zipfianconstant", SetZipfianConstant},
      // True of Acre, whatever they say: a record is read and written whole, and where a key lies
      // does not depend on the order of inserts.
      {"workload", Ignore},
      {"readallfields", Ignore},
      {"insertorder", Ignore},
      {"maxscanlength", Ignore},
      {"scanlengthdistribution", Ignore},
  };
  return *setters;
}

// Names of the shares, for messages.
absl::Status JudgeMix(const Workload& workload) {
  const double sum = workload.read_share + workload.update_share + workload.insert_share +
                     workload.read_modify_write_share;
  if (std::abs(sum - 1) < 1e-6) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the shares of ", workload.name, " add up to ", sum, ", not to 1: readproportion ",
      workload.read_share, ", updateproportion ", workload.update_share, ", insertproportion ",
      workload.insert_share, ", readmodifywriteproportion ", workload.read_modify_write_share));
}

}  // namespace

absl::StatusOr<Workload> PresetWorkload(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  if (lower == "a") return Mix(lower, 0.5, 0.5, 0, 0, Distribution::kZipfian);
  if (lower == "b") return Mix(lower, 0.95, 0.05, 0, 0, Distribution::kZipfian);
  if (lower == "c") return Mix(lower, 1, 0, 0, 0, Distribution::kZipfian);
  if (lower == "d") return Mix(lower, 0.95, 0, 0.05, 0, Distribution::kLatest);
  if (lower == "f") return Mix(lower, 0.5, 0, 0, 0.5, Distribution::kZipfian);
  if (lower == "e") return absl::InvalidArgumentError(kNoScans);
  return absl::InvalidArgumentError(
      absl::StrCat("there is no workload \"", name, "\": a, b, c, d, f, or a YCSB property file"));
}

absl::StatusOr<Workload> ParseWorkload(absl::string_view file_name, absl::string_view text) {
  Properties properties;
  properties.workload.name = std::string(file_name);
  properties.workload.distribution = Distribution::kUniform;  // YCSB's default, as are these.
  properties.workload.read_share = 0.95;
  properties.workload.update_share = 0.05;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#' || line.front() == '!') continue;
    const size_t separator = line.find_first_of("=:");
    if (separator == absl::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_name, ":", line_number, ": \"", line, "\" is not NAME=VALUE"));
    }
    const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, separator));
    const absl::string_view value = absl::StripAsciiWhitespace(line.substr(separator + 1));
    const auto setter = Setters().find(name);
    if (setter == Setters().end()) {
      properties.workload.unknown_properties.emplace_back(name);
      continue;
    }
    const absl::Status status = setter->second(value, &properties);
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(file_name, ":", line_number, ": ", name, "=",
                                                     value, ": ", status.message()));
    }
  }
  if (properties.names_fields) {
    properties.workload.value_bytes = properties.field_count * properties.field_bytes;
  }
  const absl::Status status = JudgeMix(properties.workload);
  if (!status.ok()) return status;
  return std::move(properties.workload);
}

absl::StatusOr<Workload> LoadWorkload(const std::string& name_or_path) {
  if (name_or_path.size() <= 1) return PresetWorkload(name_or_path);
  std::ifstream file(name_or_path);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read the workload \"", name_or_path,
                     "\": it is one of a, b, c, d, f, or the path of a YCSB property file"));
  }
  return ParseWorkload(name_or_path, text.str());
}

OperationSource::OperationSource(const Workload& workload, uint64_t loaded_count,
                                 InsertedRecords* records, uint64_t seed)
    : records_(records),
      random_(seed),
      picker_(workload.distribution, workload.zipfian_constant, loaded_count),
      sequence_(random_.Next()) {
  const auto bound = [](double share) { return static_cast<uint64_t>(std::round(share * 0x1p32)); };
  read_below_ = bound(workload.read_share);
  update_below_ = bound(workload.read_share + workload.update_share);
  insert_below_ = bound(workload.read_share + workload.update_share + workload.insert_share);
}

OperationKind OperationSource::DrawKind() {
  const uint64_t random = random_.Next() >> 32;
  if (random < read_below_) return OperationKind::kRead;
  if (random < update_below_) return OperationKind::kUpdate;
  if (random < insert_below_) return OperationKind::kInsert;
  return OperationKind::kReadModifyWrite;
}

}  // namespace acre::bench
