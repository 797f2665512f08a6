// SocketBuffer: bytes between a socket and those who write or parse frames. A queue of bytes in one
// piece of memory: appended at the end, consumed at the front.
//
// Threads:    confined to one.
// Invariants: begin_ <= end_ <= capacity_; both are 0 when nothing is readable.
// Limits:     grows by doubling to what EnsureSpace() was asked for; the owner bounds that.

#ifndef ACRE_KVS_SOCKET_BUFFER_H_
#define ACRE_KVS_SOCKET_BUFFER_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "glog/logging.h"

namespace acre::kvs {

class SocketBuffer {
 public:
  SocketBuffer() = default;
  SocketBuffer(SocketBuffer&& other) noexcept { Swap(&other); }
  SocketBuffer& operator=(SocketBuffer&& other) noexcept {
    Swap(&other);
    return *this;
  }

  // What was appended and not yet consumed. Valid until the next Append, EnsureSpace or Swap.
  absl::string_view readable() const { return {bytes_.get() + begin_, end_ - begin_}; }
  size_t size_bytes() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  size_t capacity_bytes() const { return capacity_; }

  // Where to put bytes that Produced() then makes readable.
  char* space() { return bytes_.get() + end_; }
  size_t space_bytes() const { return capacity_ - end_; }

  // After it space_bytes() >= bytes. Moves what is readable to the front, or to larger memory.
  void EnsureSpace(size_t bytes) {
    if (space_bytes() < bytes) Grow(bytes);
  }

  void Produced(size_t bytes) {
    DCHECK_LE(bytes, space_bytes());
    end_ += bytes;
  }

  void Append(const void* data, size_t bytes) {
    EnsureSpace(bytes);
    if (bytes > 0) std::memcpy(space(), data, bytes);  // To private memory.
    end_ += bytes;
  }

  void Consume(size_t bytes) {
    DCHECK_LE(bytes, size_bytes());
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }

  void Swap(SocketBuffer* other) {
    std::swap(bytes_, other->bytes_);
    std::swap(capacity_, other->capacity_);
    std::swap(begin_, other->begin_);
    std::swap(end_, other->end_);
  }

 private:
  static constexpr size_t kCapacityBytesMin = 16 << 10;

  void Grow(size_t bytes) {
    const size_t used = size_bytes();
    if (used + bytes <= capacity_) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, used);  // Private memory.
    } else {
      capacity_ = std::max(kCapacityBytesMin, std::bit_ceil(used + bytes));
      auto larger = std::make_unique_for_overwrite<char[]>(capacity_);
      if (used > 0) std::memcpy(larger.get(), bytes_.get() + begin_, used);  // Private memory.
      bytes_ = std::move(larger);
    }
    begin_ = 0;
    end_ = used;
  }

  std::unique_ptr<char[]> bytes_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace acre::kvs

#endif  // ACRE_KVS_SOCKET_BUFFER_H_
