// kv_server as a program: its flags, its start and stop, its limits, and strangers at its door.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/cpus.h"
#include "runtime/random.h"
#include "tests/or_die.h"
#include "tests/process.h"
#include "transport/bootstrap_wire.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

// ---- Flags.

void ExpectOneClearLine(const std::vector<std::string>& flags, absl::string_view part) {
  const Outcome outcome = RunKvServer(flags);
  EXPECT_GT(outcome.exit_code, 0) << part;
  EXPECT_EQ(std::count(outcome.stderr_text.begin(), outcome.stderr_text.end(), '\n'), 1)
      << outcome.stderr_text;
  EXPECT_NE(outcome.stderr_text.find(std::string(part)), std::string::npos) << outcome.stderr_text;
  EXPECT_EQ(outcome.stdout_text, "");
}

TEST(KvServerFlags, WhatIsWrongGetsOneLine) {
  const std::string any = "--listen=127.0.0.1:0";
  ExpectOneClearLine({"--unknown"}, "unknown flag --unknown");
  ExpectOneClearLine({"stray"}, "stray");
  ExpectOneClearLine({any, "--memory=much"}, "is no size");
  ExpectOneClearLine({any, "--memory=-1G"}, "is no size");
  ExpectOneClearLine({any, "--memory=1M"}, "at least 16 MiB");
  ExpectOneClearLine({any, "--memory=900000G"}, "more than");
  ExpectOneClearLine({any, "--memory=2000G"}, "can be had");
  ExpectOneClearLine({any, "--threads=0"}, "give 1 to");
  ExpectOneClearLine({any, "--threads=x"}, "--threads=x");
  ExpectOneClearLine({any, "--threads"}, "wants a value");
  ExpectOneClearLine({any, "--cpus=first"}, "--cpus: \"first\" is no CPU");
  ExpectOneClearLine({any, "--cpus=0,1023"}, "CPU 1023 is not one");
  ExpectOneClearLine({any, "--cpus=1023"}, "--cpus: ");
  ExpectOneClearLine({any, "--index_percent=0"}, "give 1 to 99");
  ExpectOneClearLine({any, "--huge_pages=3m"}, "give auto");
  ExpectOneClearLine({any, "--poll=sometimes"}, "adaptive or busy");
  ExpectOneClearLine({any, "--lease_ms=1"}, "give 200 to");
  ExpectOneClearLine({any, "--fabric=shm,tcp,shm"}, "shm twice");
  ExpectOneClearLine({any, "--fabric=verbs", "--device=no_card_0"}, "fabric verbs: ");
  ExpectOneClearLine({any, "--fabric=shm,tcp", "--device=mlx5_0"}, "choose fabric verbs");
  ExpectOneClearLine({any, "--fabric=string"}, "only shm, verbs, tcp");
  ExpectOneClearLine({any, "--fabric="}, "no fabric \"\"");
  ExpectOneClearLine({"--listen=7400"}, "is no HOST:PORT");
  ExpectOneClearLine({"--listen=127.0.0.1:99999"}, "is no HOST:PORT");
  ExpectOneClearLine({"--listen=0.0.0.0:0"}, "no secret");
  ExpectOneClearLine({"--listen=[::]:0"}, "no secret");
  ExpectOneClearLine({any, "--state_dir=/proc/none"}, "--state_dir");
}

TEST(KvServerFlags, HelpExplainsItsOwnFlagsOnly) {
  const Outcome outcome = RunKvServer({"--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (absl::string_view name :
       {"--listen", "--fabric", "--device", "--threads", "--cpus", "--memory", "--index_percent",
        "--huge_pages", "--poll", "--lease_ms", "--death_marks", "--state_dir"}) {
    EXPECT_NE(outcome.stdout_text.find(std::string(name)), std::string::npos) << name;
  }
  EXPECT_EQ(outcome.stdout_text.find("logtostderr"), std::string::npos);
}

TEST(KvServerStart, PortInUseIsOneClearLine) {
  const auto server = StartOrDie();
  ExpectOneClearLine({"--listen=" + server->address()}, "another program listens on");
}

TEST(KvServerStart, StartLineTellsWhatItGot) {
  const auto server = StartOrDie({.memory = "100M", .more = {"--threads=2", "--poll=adaptive"}});
  const Outcome outcome = server->Stop();
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.stderr_text, "");
  for (absl::string_view part : {"fabrics shm and tcp", "100 MiB", "pages of 4 KiB", "2 threads on",
                                 "core", "deaths marked by the kernel"}) {
    EXPECT_NE(outcome.stdout_text.find(std::string(part)), std::string::npos)
        << outcome.stdout_text;
  }
}

// Goal: --cpus: each thread that serves clients stays on its own, the others on all of them.
TEST(KvServerStart, ThreadsStayOnTheirCpus) {
  const std::vector<int> usable = UsableCpus();
  const std::vector<int> cpus = {usable.front(), usable.back()};
  const auto server =
      StartOrDie({.memory = "16M",
                  .more = {"--threads=3", absl::StrCat("--cpus=", absl::StrJoin(cpus, ","))}});
  std::map<std::string, int> threads_on;  // As the kernel writes it.
  for (const auto& task : std::filesystem::directory_iterator(
           absl::StrCat("/proc/", server->process().pid(), "/task"))) {
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar("\t"));
      if (words[0] == "Cpus_allowed_list:") ++threads_on[words[1]];
    }
  }
  std::map<std::string, int> wanted;
  ++wanted[absl::StrCat(cpus[0])];  // The third one's turn comes to the first CPU again.
  ++wanted[absl::StrCat(cpus[1])];
  ++wanted[absl::StrCat(cpus[0])];
  for (const auto& [list, count] : wanted) EXPECT_GE(threads_on[list], count) << list;
  for (const auto& [list, count] : threads_on) {
    const auto allowed = ParseCpus(list);
    ASSERT_TRUE(allowed.ok()) << list;
    for (const int cpu : *allowed) EXPECT_THAT(cpus, ::testing::Contains(cpu)) << list;
  }
  EXPECT_NE(server->Stop().stdout_text.find(absl::StrCat("3 threads on ", wanted.size(), " core")),
            std::string::npos);
}

// Goal: nobody can make a server write through a link, or read what others prepared.
TEST(KvServerStart, StateFileMustBeItsOwn) {
  const auto server = StartOrDie();
  const std::string path = StateFolder() + "/" + server->address() + ".state";
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const std::string address = server->address();
  ASSERT_EQ(server->Stop().exit_code, 0);
  ASSERT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(symlink("/etc/passwd", path.c_str()), 0);
  ExpectOneClearLine({"--listen=" + address, "--memory=16M"}, "--state_dir");
  ASSERT_EQ(unlink(path.c_str()), 0);
}

TEST(KvServerStart, AfterADeathItSaysThatItWaits) {
  const auto server = StartOrDie();
  server->Kill();
  ASSERT_EQ(server->StartAgain(), absl::OkStatus());
  const Outcome outcome = server->Stop();
  EXPECT_NE(outcome.stderr_text.find("did not stop cleanly"), std::string::npos)
      << outcome.stderr_text;
}

// ---- Limits.

// Goal: a full store says so, keeps what it has acknowledged, and goes on serving.
TEST(KvServerMemory, FullStoreRefusesAndGoesOn) {
  const auto server = StartOrDie({.memory = "16M"});
  const auto client = ConnectOrDie(server->address());
  const auto value_of = [](int i) { return std::string(50'000, static_cast<char>(i)); };
  int stored = 0;
  absl::Status status;
  for (; stored < 1000; ++stored) {
    status = client->Put(absl::StrCat("key", stored), value_of(stored));
    if (!status.ok()) break;
  }
  ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
  ASSERT_GT(stored, 100);
  EXPECT_TRUE(absl::IsNotFound(client->Get(absl::StrCat("key", stored)).status()));
  for (int i = 0; i < stored; ++i)
    EXPECT_EQ(client->Get(absl::StrCat("key", i)).value(), value_of(i));
  for (int i = 0; i < stored; i += 2) {
    ASSERT_EQ(client->Delete(absl::StrCat("key", i)), absl::OkStatus());
  }
  EXPECT_EQ(client->Put("more", value_of(1)), absl::OkStatus());
  for (int i = 1; i < stored; i += 2)
    EXPECT_EQ(client->Get(absl::StrCat("key", i)).value(), value_of(i));
}

TEST(KvServerMemory, SeveralRegionsAreOneStore) {
  // Two regions: more than 2 GiB. Most of it is never touched by the test.
  const auto server = StartOrDie({.memory = "2100M"});
  for (const Path path : {Path::kRpc, Path::kMapped, Path::kOneSided}) {
    const auto client = ConnectOrDie(server->address(), path);
    for (int i = 0; i < 500; ++i) {
      ASSERT_EQ(client->Put(absl::StrCat("key", i), absl::StrCat(i)), absl::OkStatus());
    }
    for (int i = 0; i < 500; ++i) {
      EXPECT_EQ(client->Get(absl::StrCat("key", i)).value(), absl::StrCat(i));
    }
  }
}

TEST(KvServerIdle, UsesNextToNoCpu) {
  const auto server = StartOrDie();
  const auto client = ConnectOrDie(server->address());
  ASSERT_EQ(client->Put("key", "value"), absl::OkStatus());
  const int64_t before_ms = server->process().CpuMs();
  // An idle server has nothing to say: this waits for two seconds.
  EXPECT_FALSE(server->process().WaitForOutput("nothing of the kind", 2000).ok());
  EXPECT_LE(server->process().CpuMs() - before_ms, 20) << "more than 1 % of a core";
}

// ---- Strangers.

ScopedFd Knock(const std::string& address, const std::string& bytes) {
  const auto host_port = transport::ParseHostPort(address);
  CHECK(host_port.ok());
  const auto addresses = transport::Resolve(*host_port);
  CHECK(addresses.ok());
  ScopedFd fd(socket(addresses->front().family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  PCHECK(connect(fd.get(), addresses->front().get(), addresses->front().length_bytes()) == 0);
  // The server may have hung up in the middle of it.
  (void)!send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return fd;
}

// Reads till the other side hangs up.
std::string ReadToEnd(int fd) {
  std::string text;
  char bytes[4096];
  for (;;) {
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    CHECK_EQ(poll(&ready, 1, 30'000), 1) << "the server holds a connection for too long";
    const ssize_t got = read(fd, bytes, sizeof(bytes));
    if (got <= 0) return text;
    text.append(bytes, static_cast<size_t>(got));
  }
}

TEST(KvServerDoor, RandomBytesHurtNobodyElse) {
  const auto server = StartOrDie();
  const auto client = ConnectOrDie(server->address());
  Random random(20261121);
  for (int round = 0; round < 200; ++round) {
    std::string bytes;
    if (round % 3 != 0) bytes.assign(transport::kBootstrapPurpose.data(), transport::kPurposeBytes);
    if (round % 3 == 2) bytes += std::string("\x30\0\0\0\x01\0\0\0", 8);  // A Hello's header.
    const size_t more = random.Uniform(300);
    for (size_t i = 0; i < more; ++i) bytes += static_cast<char>(random.Next());
    const ScopedFd fd = Knock(server->address(), bytes);
    shutdown(fd.get(), SHUT_WR);
    ReadToEnd(fd.get());
    ASSERT_EQ(client->Put("key", absl::StrCat(round)), absl::OkStatus());
  }
}

TEST(KvServerDoor, RefusalsSayWhy) {
  const auto server = StartOrDie();
  const auto answer_to = [&server](const transport::Hello& hello) {
    const ScopedFd fd = Knock(server->address(), std::string(transport::kBootstrapPurpose) +
                                                     transport::EncodeHello(hello));
    const std::string answer = ReadToEnd(fd.get());
    CHECK_GT(answer.size(), sizeof(transport::MessageHeader));
    return transport::ParseRefusal(answer.substr(sizeof(transport::MessageHeader)));
  };
  transport::Hello hello;
  hello.protocol_version = 99;
  EXPECT_TRUE(absl::IsFailedPrecondition(answer_to(hello))) << answer_to(hello);
  hello = {};
  hello.layout_version = 12345;
  EXPECT_TRUE(absl::IsFailedPrecondition(answer_to(hello))) << answer_to(hello);
}

// Goal: whoever connects and says nothing, or half of it, takes nobody's place, and goes soon.
TEST(KvServerDoor, SilentPeersDoNotKeepOthersOut) {
  const auto server = StartOrDie();
  std::vector<ScopedFd> silent;
  for (int i = 0; i < 400; ++i)
    silent.push_back(Knock(server->address(), i % 2 == 0 ? "" : "ACREBO"));
  const auto client = ConnectOrDie(server->address());
  EXPECT_EQ(client->Put("key", "value"), absl::OkStatus());
  for (const ScopedFd& fd : silent) EXPECT_EQ(ReadToEnd(fd.get()), "");
}

// Goal: a token is nobody's who has not got it: a client that says Hello and never comes on the fabric
// leaves nothing behind.
TEST(KvServerDoor, ClientsThatComeAndGoLeaveNothingBehind) {
  const auto server = StartOrDie({.more = {"--threads=2"}});
  const auto client = ConnectOrDie(server->address());
  const auto come_and_go = [&server] {
    for (const Path path : {Path::kMapped, Path::kOneSided, Path::kRpc, Path::kTcp}) {
      const auto visitor = ConnectOrDie(server->address(), path);
      CHECK_EQ(visitor->Put("key", "value"), absl::OkStatus());
      CHECK_EQ(visitor->Get("key").value(), "value");
    }
  };
  const auto wait_till_gone = [&client] {
    for (;;) {
      const std::string stats = client->ServerStats().value();
      if (absl::StrContains(stats, "\nclients 1\n") && absl::StrContains(stats, "\nsockets 0\n"))
        return;
    }
  };
  come_and_go();
  wait_till_gone();
  const int before = server->process().DescriptorsCount();
  for (int i = 0; i < 75; ++i) come_and_go();
  wait_till_gone();
  EXPECT_LE(server->process().DescriptorsCount(), before);
}

}  // namespace
}  // namespace acre::tests
