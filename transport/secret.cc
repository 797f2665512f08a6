#include "transport/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/scoped_fd.h"

namespace acre::transport {
namespace {

// With room for a newline, and for one byte more: that one shows that the file is too long.
constexpr size_t kFileBytesMax = kSecretBytesMax + 3;

absl::Status Bad(const std::string& path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("secret file \"", path, "\" ", why));
}

// Of the file that is open, whatever its name stands for by now.
absl::Status JudgeFile(const std::string& path, int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return Bad(path, absl::StrCat("cannot be read: ", strerror(errno)));
  if (!S_ISREG(status.st_mode)) return Bad(path, "is no regular file");
  if ((status.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) != 0) {
    return Bad(path,
               absl::StrCat("can be read or written by others than its owner: chmod 600 ", path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Secret>> Secret::ReadFile(const std::string& path) {
  // Non-blocking: opening a pipe would wait for its writer.
  const ScopedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.is_open()) return Bad(path, absl::StrCat("cannot be read: ", strerror(errno)));
  const absl::Status judged = JudgeFile(path, fd.get());
  if (!judged.ok()) return judged;
  char bytes[kFileBytesMax];
  size_t size = 0;
  while (size < sizeof(bytes)) {
    const ssize_t got = read(fd.get(), bytes + size, sizeof(bytes) - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Bad(path, absl::StrCat("cannot be read: ", strerror(errno)));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  absl::string_view text(bytes, size);
  if (absl::ConsumeSuffix(&text, "\n")) absl::ConsumeSuffix(&text, "\r");
  auto secret = FromBytes(std::string(text));
  OPENSSL_cleanse(bytes, sizeof(bytes));
  if (!secret.ok()) return Bad(path, secret.status().message());
  return secret;
}

absl::StatusOr<std::shared_ptr<const Secret>> Secret::FromBytes(std::string bytes) {
  // Takes the bytes first, so that they are overwritten whatever comes of it.
  const std::shared_ptr<const Secret> secret = absl::WrapUnique(new Secret(std::move(bytes)));
  const size_t size = secret->bytes().size();
  if (size == 0) return absl::InvalidArgumentError("is empty");
  if (size < kSecretBytesMin) {
    return absl::InvalidArgumentError(
        absl::StrCat("holds ", size, " bytes: a secret has at least ", kSecretBytesMin,
                     ", for example those of `openssl rand -base64 32`"));
  }
  if (size > kSecretBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("is too long: a secret has at most ", kSecretBytesMax, " bytes"));
  }
  return secret;
}

Secret::Secret(std::string bytes) : bytes_(std::move(bytes)) {}

Secret::~Secret() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

}  // namespace acre::transport
