// The owner of a mapping.

#ifndef ACRE_TRANSPORT_SHM_SCOPED_MAPPING_H_
#define ACRE_TRANSPORT_SHM_SCOPED_MAPPING_H_

#include <sys/mman.h>

#include <cstddef>
#include <utility>

#include "runtime/shared_word.h"

namespace acre::transport {

// Unmaps its memory when it goes. Null: none.
class ScopedMapping {
 public:
  ScopedMapping() = default;
  ScopedMapping(void* memory, size_t size_bytes) : memory_(memory), size_bytes_(size_bytes) {}
  ScopedMapping(ScopedMapping&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  ScopedMapping& operator=(ScopedMapping&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~ScopedMapping() {
    if (memory_ != nullptr) munmap(memory_, size_bytes_);
  }

  SharedWord* words() const { return static_cast<SharedWord*>(memory_); }
  size_t size_bytes() const { return size_bytes_; }
  bool is_mapped() const { return memory_ != nullptr; }

 private:
  void* memory_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SHM_SCOPED_MAPPING_H_
