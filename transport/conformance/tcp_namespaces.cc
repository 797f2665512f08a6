#include "transport/conformance/tcp_namespaces.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace acre::transport {
namespace {

// The user's PATH does not always have it.
constexpr char kIp[] = "/usr/sbin/ip";

std::string LinkOf(size_t index) { return absl::StrCat("acre", index); }

}  // namespace

absl::StatusOr<std::unique_ptr<TwoNamespaces>> TwoNamespaces::Create() {
  if (geteuid() != 0) {
    return absl::FailedPreconditionError("making network namespaces takes root");
  }
  if (access(kIp, X_OK) != 0) {
    return absl::FailedPreconditionError("there is no /usr/sbin/ip (package iproute2)");
  }
  auto made = absl::WrapUnique(new TwoNamespaces());
  absl::Status set_up = made->SetUp();
  if (!set_up.ok()) return set_up;
  return made;
}

TwoNamespaces::~TwoNamespaces() {
  for (ScopedFd& fd : fds_) fd.Close();
  // The links go with them.
  for (const std::string& name : names_) {
    if (!name.empty()) (void)Ip(absl::StrCat("netns del ", name));
  }
}

absl::Status TwoNamespaces::SetUp() {
  for (size_t i = 0; i < kCount; ++i) {
    const std::string name = absl::StrCat("acre-test-", getpid(), "-", i);
    if (absl::Status made = Ip(absl::StrCat("netns add ", name)); !made.ok()) return made;
    names_[i] = name;
    fds_[i] = ScopedFd(open(absl::StrCat("/run/netns/", name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fds_[i].is_open()) return absl::FailedPreconditionError("cannot open /run/netns");
  }
  absl::Status made = Ip(absl::StrCat("link add ", LinkOf(0), " netns ", names_[0],
                                      " type veth peer name ", LinkOf(1), " netns ", names_[1]));
  for (size_t i = 0; i < kCount && made.ok(); ++i) {
    const std::string in = absl::StrCat("-n ", names_[i], " ");
    made = Ip(absl::StrCat(in, "addr add ", AddressOf(i), "/24 dev ", LinkOf(i)));
    if (made.ok()) made = Ip(absl::StrCat(in, "link set ", LinkOf(i), " up"));
    // A node that connects to itself.
    if (made.ok()) made = Ip(in + "link set lo up");
  }
  return made;
}

absl::Status TwoNamespaces::Ip(const std::string& arguments) const {
  const std::string command = absl::StrCat(kIp, " ", arguments, " 2>&1");
  FILE* const output = popen(command.c_str(), "re");
  if (output == nullptr) return absl::FailedPreconditionError("cannot start ip");
  std::string said;
  std::array<char, 256> some;
  while (const size_t bytes = fread(some.data(), 1, some.size(), output)) {
    said.append(some.data(), bytes);
  }
  if (pclose(output) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("ip ", arguments, ": ", said));
}

void TwoNamespaces::RunIn(size_t index, const std::function<void()>& function) const {
  std::thread thread([&] {
    PCHECK(setns(fds_[index].get(), CLONE_NEWNET) == 0);
    function();
  });
  thread.join();
}

std::string TwoNamespaces::AddressOf(size_t index) { return absl::StrCat("10.213.7.", index + 1); }

void TwoNamespaces::SetCut(bool cut) const {
  // An address that vanishes at the far end: packets to it are dropped without an answer.
  const absl::Status done =
      Ip(absl::StrCat("-n ", names_[1], " link set ", LinkOf(1), cut ? " down" : " up"));
  CHECK(done.ok()) << done;
}

}  // namespace acre::transport
