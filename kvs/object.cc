#include "kvs/object.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "glog/logging.h"
#include "runtime/planted_bug.h"

namespace acre::kvs {

uint64_t WriteObject(SharedWord* to, uint64_t stamp, absl::string_view key,
                     absl::string_view value) {
  // Put together in private memory first: bytes of shared memory are stored as whole words only.
  // Taken out while it is used: simulated threads take turns on this thread.
  thread_local std::vector<uint64_t> kept;
  std::vector<uint64_t> scratch = std::move(kept);
  const size_t words = ObjectBytes(key.size(), value.size()) / kWordBytes;
  if (scratch.size() < words) scratch.resize(words);
  scratch[words - 1] = 0;
  const ObjectHeader header = {stamp, static_cast<uint32_t>(value.size()),
                               static_cast<uint32_t>(key.size())};
  char* const bytes = reinterpret_cast<char*>(scratch.data());
  std::memcpy(bytes, &header, sizeof(header));  // private memory
  std::copy(key.begin(), key.end(), bytes + sizeof(header));
  std::copy(value.begin(), value.end(), bytes + sizeof(header) + key.size());
  const uint64_t checksum = XXH3_64bits(scratch.data(), words * kWordBytes);
  // A late reader of the object that was here before may load any of these words: its checksum
  // tells it.
  CopyToShared(to, scratch.data(), words, CopyOrder::kAscending);
  // One large object must not hold a thread's memory for ever.
  if (scratch.size() <= (size_t{64} << 10) / kWordBytes) kept = std::move(scratch);
  return checksum;
}

ObjectView ParseObject(const uint64_t* words, size_t key_bytes, size_t value_bytes,
                       uint64_t checksum) {
  ObjectHeader header;
  std::memcpy(&header, words, sizeof(header));  // private memory
  ObjectView view;
  view.valid = header.key_bytes == key_bytes && header.value_bytes == value_bytes &&
               (XXH3_64bits(words, ObjectBytes(key_bytes, value_bytes)) == checksum ||
                IsPlanted(PlantedBug::kChecksumUnchecked));
  const char* const bytes = reinterpret_cast<const char*>(words) + sizeof(header);
  view.key = {bytes, key_bytes};
  view.value = {bytes + key_bytes, value_bytes};
  return view;
}

}  // namespace acre::kvs
