// Secret: what the servers of a cluster and their clients know, and nobody else. It proves that a
// client may come in, and that a server is the one that was meant; it never travels
// (transport/secret_proof.h).
//
// Threads: immutable, any thread.

#ifndef ACRE_TRANSPORT_SECRET_H_
#define ACRE_TRANSPORT_SECRET_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace acre::transport {

constexpr size_t kSecretBytesMin = 16;
constexpr size_t kSecretBytesMax = 1024;

class Secret {
 public:
  // Reads a file: all its bytes but one newline at the end. Every error is InvalidArgument, one
  // line that says what to do: it cannot be read, is no regular file, is too short or too long, or
  // others than its owner may read or write it.
  static absl::StatusOr<std::shared_ptr<const Secret>> ReadFile(const std::string& path);
  // InvalidArgument: too short or too long.
  static absl::StatusOr<std::shared_ptr<const Secret>> FromBytes(std::string bytes);
  // Overwrites its bytes.
  ~Secret();
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;

  // Never to be logged, sent, or put into an error.
  absl::string_view bytes() const { return bytes_; }

 private:
  explicit Secret(std::string bytes);

  std::string bytes_;
};

}  // namespace acre::transport

#endif  // ACRE_TRANSPORT_SECRET_H_
