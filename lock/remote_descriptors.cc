#include "lock/remote_descriptors.h"

#include <utility>

#include "absl/memory/memory.h"
#include "glog/logging.h"

namespace acre {

absl::StatusOr<std::unique_ptr<RemoteDescriptors>> RemoteDescriptors::Create(
    transport::Fabric* fabric, uint32_t region_id, uint32_t process_id,
    uint32_t descriptors_count) {
  CHECK_NE(process_id, 0u);
  CHECK(descriptors_count >= 1 && descriptors_count <= RemoteWord::kDescriptorsMax);
  transport::RegionOptions options;
  options.region_id = region_id;
  options.size_bytes =
      transport::kRegionHeaderBytes + size_t{descriptors_count} * sizeof(RemoteDescriptor);
  options.peer_rights = transport::kRightWrite;
  options.name = "lock descriptors";
  auto region = fabric->CreateRegion(options);
  if (!region.ok()) return region.status();
  return absl::WrapUnique(new RemoteDescriptors(*std::move(region), process_id, descriptors_count));
}

RemoteDescriptors::RemoteDescriptors(std::unique_ptr<transport::MemoryRegion> region,
                                     uint32_t process_id, uint32_t count)
    : region_(std::move(region)), process_id_(process_id), count_(count) {
  free_.reserve(count_);
  for (uint32_t index = count_; index-- > 0;) free_.emplace_back(process_id_, index, 1);
}

RemoteWord RemoteDescriptors::Claim() {
  MutexLock lock(&mutex_);
  if (free_.empty()) return RemoteWord();
  const RemoteWord word = free_.back();
  free_.pop_back();
  return word;
}

void RemoteDescriptors::Free(RemoteWord word) {
  MutexLock lock(&mutex_);
  free_.push_back(word.Next());
}

RemoteDescriptor* RemoteDescriptors::Find(RemoteWord word) const {
  CHECK(word.process_id() == process_id_ && word.index() < count_);
  return reinterpret_cast<RemoteDescriptor*>(region_->words() + GrantOffset(word) / kWordBytes);
}

}  // namespace acre
