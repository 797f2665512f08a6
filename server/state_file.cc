#include "server/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace acre::server {
namespace {

constexpr absl::string_view kFirstLine = "acre-state 1";
constexpr size_t kFileBytesMax = 4096;

absl::Status Unsafe(const std::string& path, absl::string_view why) {
  return absl::PermissionDeniedError(
      absl::StrCat("cannot keep the server's state in ", path, ": ", why,
                   "; mend that, or name another folder with --state_dir"));
}

// Makes the folder if it is not there, and judges it. The error of the first step that failed.
absl::Status PrepareFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Unsafe(path, strerror(errno));
  const ScopedFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.is_open()) return Unsafe(path, strerror(errno));
  struct stat status;
  if (fstat(folder.get(), &status) != 0) return Unsafe(path, strerror(errno));
  if (status.st_uid != geteuid()) return Unsafe(path, "it belongs to another user");
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return Unsafe(path, "others may write to it");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> StateFile::Folder(absl::string_view override_path) {
  if (!override_path.empty()) {
    std::string path(override_path);
    if (absl::Status status = PrepareFolder(path); !status.ok()) return status;
    return path;
  }
  const uid_t user = geteuid();
  if (user == 0) {
    const std::string run = "/run/acre";
    const absl::Status status = PrepareFolder(run);
    if (status.ok()) return run;
    // Where there is no /run to write to there will be none for the next server either.
    if (access(run.c_str(), F_OK) == 0) return status;
  }
  std::string path = absl::StrCat("/tmp/acre-", user);
  if (absl::Status status = PrepareFolder(path); !status.ok()) return status;
  return path;
}

absl::StatusOr<std::unique_ptr<StateFile>> StateFile::Open(absl::string_view folder,
                                                           absl::string_view address,
                                                           absl::string_view boot_id) {
  auto file = absl::WrapUnique(new StateFile);
  file->boot_id_ = std::string(boot_id);
  file->path_ = absl::StrCat(folder, "/", address, ".state");
  const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  file->fd_ = ScopedFd(open(file->path_.c_str(), flags, 0600));
  if (!file->fd_.is_open()) return Unsafe(file->path_, strerror(errno));
  struct stat status;
  if (fstat(file->fd_.get(), &status) != 0) return Unsafe(file->path_, strerror(errno));
  if (!S_ISREG(status.st_mode)) return Unsafe(file->path_, "it is no plain file");
  if (status.st_uid != geteuid()) return Unsafe(file->path_, "it belongs to another user");
  if (status.st_nlink != 1) return Unsafe(file->path_, "it has several names");
  if (flock(file->fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Unsafe(file->path_, strerror(errno));
    return absl::AlreadyExistsError(absl::StrCat("another server starts or runs on ", address,
                                                 ": stop it, or choose another port"));
  }
  char text[kFileBytesMax];
  const ssize_t bytes = pread(file->fd_.get(), text, sizeof(text), 0);
  if (bytes < 0) return Unsafe(file->path_, strerror(errno));
  file->ParseBefore(absl::string_view(text, static_cast<size_t>(bytes)));
  return file;
}

void StateFile::ParseBefore(absl::string_view text) {
  // Made, and never written to: that server never listened.
  if (text.empty()) return;
  before_ = Before::kDied;
  lease_ms_before_ = kLeaseMsMax;
  std::map<absl::string_view, absl::string_view> values;
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  for (absl::string_view line : lines) {
    values.insert(absl::StrSplit(line, absl::MaxSplits(' ', 1)));
  }
  int64_t lease_ms;
  if (lines.empty() || lines[0] != kFirstLine || !absl::SimpleAtoi(values["lease_ms"], &lease_ms) ||
      (lease_ms != 0 && lease_ms < kLeaseMsMin) || lease_ms > kLeaseMsMax) {
    return;  // It makes no sense: the worst is assumed.
  }
  if (values["boot_id"] != boot_id_) {
    before_ = Before::kNone;
  } else if (values["state"] == "clean") {
    before_ = Before::kClean;
  }
  lease_ms_before_ = lease_ms;
}

absl::Status StateFile::WriteRunning(uint64_t incarnation, int64_t lease_ms) {
  incarnation_ = incarnation;
  lease_ms_ = lease_ms;
  return Write("running");
}

absl::Status StateFile::WriteClean() { return Write("clean"); }

absl::Status StateFile::Write(absl::string_view state) {
  // Padded to one length, so that one write replaces all: whoever is killed here leaves old or new.
  std::string text =
      absl::StrCat(kFirstLine, "\nstate ", state, "\nboot_id ", boot_id_, "\nincarnation ",
                   absl::Hex(incarnation_, absl::kZeroPad16), "\nlease_ms ", lease_ms_, "\n");
  constexpr size_t kFileBytes = 256;
  text.resize(std::max(text.size(), kFileBytes), '\n');
  const ssize_t written = pwrite(fd_.get(), text.data(), text.size(), 0);
  if (written == static_cast<ssize_t>(text.size())) return absl::OkStatus();
  return absl::ErrnoToStatus(written < 0 ? errno : ENOSPC,
                             absl::StrCat("cannot write ", path_, ": free some space there"));
}

}  // namespace acre::server
