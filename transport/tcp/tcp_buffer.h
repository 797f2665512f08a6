// Bytes on their way from or to a socket: private memory, aligned, whole words.

#ifndef ACRE_TRANSPORT_TCP_TCP_BUFFER_H_
#define ACRE_TRANSPORT_TCP_TCP_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "glog/logging.h"
#include "runtime/shared_word.h"

namespace acre::transport {

// What came and was not read yet. Borrows the bytes. They begin at a word, and only whole words are taken,
// but may end within one.
class TcpInput {
 public:
  TcpInput(const uint64_t* words, size_t bytes)
      : at_(reinterpret_cast<const char*>(words)), bytes_(bytes) {}

  size_t bytes() const { return bytes_; }
  const uint64_t* words() const { return reinterpret_cast<const uint64_t*>(at_); }
  size_t whole_words_bytes() const { return bytes_ / kWordBytes * kWordBytes; }

  // Copies what lies `offset_bytes` ahead, without taking it. False: that much is not there.
  template <class T>
  [[nodiscard]] bool Peek(T* wire, size_t offset_bytes = 0) const {
    static_assert(sizeof(T) % kWordBytes == 0);
    if (bytes_ < offset_bytes + sizeof(T)) return false;
    std::memcpy(wire, at_ + offset_bytes, sizeof(T));  // private memory
    return true;
  }
  void Take(size_t bytes) {
    DCHECK(bytes <= bytes_ && bytes % kWordBytes == 0);
    at_ += bytes;
    bytes_ -= bytes;
  }

 private:
  const char* at_;
  size_t bytes_;
};

// What goes out. Its memory is allocated by the first Append() and kept.
class TcpOutput {
 public:
  explicit TcpOutput(size_t bytes_max) : bytes_max_(bytes_max) {
    CHECK_EQ(bytes_max % kWordBytes, 0u);
  }

  size_t pending_bytes() const { return end_ - begin_; }
  // How much Append() takes. Less than bytes_max - pending_bytes() by less than a word.
  size_t room_bytes() const { return bytes_max_ - (end_ - begin_ / kWordBytes * kWordBytes); }

  // Appends memory to be filled. Requires: whole words, at most room_bytes().
  uint64_t* Append(size_t bytes) {
    DCHECK(bytes <= room_bytes() && bytes % kWordBytes == 0);
    if (words_ == nullptr) words_ = std::make_unique<uint64_t[]>(bytes_max_ / kWordBytes);
    if (bytes > bytes_max_ - end_) Compact();
    uint64_t* const at = words_.get() + end_ / kWordBytes;
    end_ += bytes;
    return at;
  }
  template <class T>
  void AppendWire(const T& wire) {
    static_assert(sizeof(T) % kWordBytes == 0);
    std::memcpy(Append(sizeof(T)), &wire, sizeof(T));  // private memory
  }
  // Takes the last `bytes` of it back, none of which were sent.
  void TakeBack(size_t bytes) {
    DCHECK_LE(bytes, pending_bytes());
    end_ -= bytes;
  }

  const char* data() const { return reinterpret_cast<const char*>(words_.get()) + begin_; }
  void Sent(size_t bytes) {
    DCHECK_LE(bytes, pending_bytes());
    begin_ += bytes;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void Clear() { begin_ = end_ = 0; }

 private:
  // To the front, keeping words where words begin.
  void Compact() {
    const size_t shift = begin_ / kWordBytes * kWordBytes;
    char* const bytes = reinterpret_cast<char*>(words_.get());
    std::memmove(bytes, bytes + shift, end_ - shift);  // private memory
    begin_ -= shift;
    end_ -= shift;
  }

  const size_t bytes_max_;
  std::unique_ptr<uint64_t[]> words_;
  size_t begin_ = 0;  // Of what was not sent yet.
  size_t end_ = 0;    // A multiple of 8.
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_TCP_TCP_BUFFER_H_
