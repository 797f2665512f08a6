#include "tests/kill/server_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kvs/bucket.h"
#include "kvs/hash.h"
#include "kvs/segment_layout.h"
#include "lock/lock_words.h"
#include "runtime/scoped_fd.h"
#include "runtime/shared_word.h"
#include "transport/region_header.h"

namespace acre::tests {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // Of copies.
// As the server names them, in /proc.
constexpr char kRegionMark[] = "memfd:acre-data-";
// Any bucket.
constexpr uint64_t kBucketOfPlants = 3;

struct Mapping {
  uint64_t begin = 0;
  uint64_t bytes = 0;
};

// Where its regions are mapped, each once.
std::vector<Mapping> RegionsOf(pid_t server) {
  std::ifstream maps(absl::StrCat("/proc/", server, "/maps"));
  std::map<uint64_t, Mapping> by_inode;
  for (std::string line; std::getline(maps, line);) {
    if (!absl::StrContains(line, kRegionMark)) continue;
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t inode = 0;
    if (sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %" SCNu64, &begin, &end,
               &inode) == 3) {
      by_inode[inode] = {begin, end - begin};
    }
  }
  std::vector<Mapping> regions;
  for (const auto& [inode, mapping] : by_inode) regions.push_back(mapping);
  return regions;
}

ScopedFd OpenMemory(pid_t server, int flags) {
  return ScopedFd(open(absl::StrCat("/proc/", server, "/mem").c_str(), flags | O_CLOEXEC));
}

// A copy of one region.
struct Copy {
  std::unique_ptr<SharedWord[]> words;
  checkers::SegmentMemory memory;
};

// A system call may split words; what is copied is judged for what stood still.
absl::Status ReadFully(int memory_fd, uint64_t address, uint64_t bytes, void* to) {
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = pread(memory_fd, static_cast<char*>(to) + done, bytes - done,
                              static_cast<off_t>(address + done));
    if (got <= 0) return absl::InternalError("a region cannot be read");
    done += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::StatusOr<kvs::SegmentLayout> ReadLayout(int memory_fd, const Mapping& mapping) {
  uint64_t region_words[transport::kRegionHeaderBytes / kWordBytes];
  uint64_t segment_words[sizeof(kvs::SegmentHeader) / kWordBytes];
  absl::Status status = ReadFully(memory_fd, mapping.begin, sizeof(region_words), region_words);
  if (status.ok()) {
    status = ReadFully(memory_fd, mapping.begin + kvs::kSegmentHeaderOffset, sizeof(segment_words),
                       segment_words);
  }
  if (!status.ok()) return status;
  const uint64_t region_id =
      region_words[offsetof(transport::RegionHeader, region_id) / kWordBytes];
  auto layout =
      kvs::SegmentLayout::Parse(segment_words, static_cast<uint32_t>(region_id), mapping.bytes);
  if (!layout.ok()) return absl::InternalError(layout.status().message());
  return layout;
}

absl::StatusOr<Copy> CopyRegion(int memory_fd, const Mapping& mapping) {
  Copy copy;
  copy.words = std::make_unique<SharedWord[]>(mapping.bytes / kWordBytes);
  absl::Status status = ReadFully(memory_fd, mapping.begin, mapping.bytes, copy.words.get());
  if (!status.ok()) return status;
  const auto layout = ReadLayout(memory_fd, mapping);
  if (!layout.ok()) return layout.status();
  copy.memory = {copy.words.get(), *layout};
  return copy;
}

// Of all regions of a server, and where they are mapped.
absl::StatusOr<std::vector<std::pair<Mapping, Copy>>> CopyAll(pid_t server) {
  const ScopedFd memory = OpenMemory(server, O_RDONLY);
  std::vector<std::pair<Mapping, Copy>> copies;
  for (const Mapping& mapping : RegionsOf(server)) {
    absl::StatusOr<Copy> copy = CopyRegion(memory.get(), mapping);
    if (!copy.ok()) return copy.status();
    copies.emplace_back(mapping, *std::move(copy));
  }
  if (copies.empty()) return absl::InternalError("the server has no region that can be seen");
  return copies;
}

// Flips bits of a word of the server's, which stands in `copy`.
absl::Status Flip(pid_t server, const Mapping& mapping, const Copy& copy, const SharedWord& word,
                  uint64_t bits) {
  const auto offset = static_cast<uint64_t>(reinterpret_cast<const char*>(&word) -
                                            reinterpret_cast<const char*>(copy.words.get()));
  const uint64_t value = word.Load(kRelaxed) ^ bits;
  const ScopedFd memory = OpenMemory(server, O_RDWR);
  if (pwrite(memory.get(), &value, sizeof(value), static_cast<off_t>(mapping.begin + offset)) !=
      sizeof(value)) {
    return absl::InternalError("the server's memory cannot be written");
  }
  return absl::OkStatus();
}

// The last word of a body's value that lies inline, or null.
const SharedWord* WordOfValue(const checkers::SegmentMemory& memory) {
  const checkers::SegmentWalk walk(memory);
  for (const checkers::BucketAt& at : walk.buckets()) {
    for (const kvs::Slot& slot : at.bucket->slots) {
      const kvs::SlotWord first = slot.first();
      if (first.kind() != kvs::SlotKind::kInline || first.value_bytes() < kWordBytes) continue;
      return &slot.words[1 + (first.key_bytes() + first.value_bytes() - 1) / kWordBytes];
    }
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<checkers::Model> RecordsInMemory(pid_t server) {
  const auto copies = CopyAll(server);
  if (!copies.ok()) return copies.status();
  checkers::Model all;
  std::string wrong;
  for (const auto& [mapping, copy] : *copies) {
    checkers::Model records;
    wrong += checkers::ToText(checkers::CheckMemory(copy.memory, &records));
    for (auto& [key, value] : records) {
      if (!all.emplace(key, value).second) absl::StrAppend(&wrong, key, ": in two segments\n");
    }
  }
  if (!wrong.empty()) return absl::InternalError(wrong);
  return all;
}

std::set<uint64_t> RemoteTails(pid_t server, const std::vector<std::string>& keys) {
  std::set<uint64_t> tails;
  const ScopedFd memory = OpenMemory(server, O_RDONLY);
  for (const Mapping& mapping : RegionsOf(server)) {
    const auto layout = ReadLayout(memory.get(), mapping);
    if (!layout.ok()) continue;
    for (const std::string& key : keys) {
      const uint64_t home = kvs::HomeBucket(kvs::HashKey(key), layout->buckets_count);
      for (const uint64_t bucket : {home, home + 1}) {
        uint64_t tail = 0;
        const uint64_t address = mapping.begin + layout->BucketOffset(bucket) +
                                 offsetof(kvs::Bucket, lock) + offsetof(LockWords, remote_tail);
        const absl::Status read = ReadFully(memory.get(), address, sizeof(tail), &tail);
        if (read.ok() && tail != 0) tails.insert(tail);
      }
    }
  }
  return tails;
}

absl::Status PlantInMemory(pid_t server, MemoryPlant plant) {
  const auto copies = CopyAll(server);
  if (!copies.ok()) return copies.status();
  const auto& [mapping, copy] = copies->front();
  const kvs::Bucket& bucket = *checkers::SegmentWalk(copy.memory).buckets()[kBucketOfPlants].bucket;
  switch (plant) {
    case MemoryPlant::kLockLeft:
      return Flip(server, mapping, copy, bucket.lock.remote_tail, uint64_t{1} << 32);
    case MemoryPlant::kSlotLeft:
      return Flip(server, mapping, copy, bucket.slots[0].words[0], uint64_t{1} << 16);
    case MemoryPlant::kRecordBroken: {
      const SharedWord* const word = WordOfValue(copy.memory);
      if (word == nullptr) return absl::NotFoundError("no record lies inline");
      return Flip(server, mapping, copy, *word, 1);
    }
  }
  return absl::OkStatus();
}

}  // namespace acre::tests
