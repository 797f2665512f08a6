// That what is held is seen, and that it is gone is seen too.

#include "tests/kill/level.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/scoped_fd.h"
#include "tests/kill/life.h"
#include "tests/kill/plan.h"
#include "tests/kill/values.h"
#include "transport/socket.h"

namespace acre::tests {
namespace {

using testing::HasSubstr;

constexpr size_t kBytes = size_t{64} << 20;

TEST(LevelTest, DescriptorIsSeen) {
  const ProcessLevel before = LevelOf(getpid());
  EXPECT_EQ(Growth(before, LevelOf(getpid()), 1024), "");
  ScopedFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_THAT(Growth(before, LevelOf(getpid()), 1024), HasSubstr("/dev/null: 0, then 1"));
  // One that is gone is no less strange.
  const ProcessLevel with_file = LevelOf(getpid());
  file.Close();
  EXPECT_THAT(Growth(with_file, LevelOf(getpid()), 1024), HasSubstr("/dev/null: 1, then 0"));
}

TEST(LevelTest, LowerIsWhatBothHold) {
  const ProcessLevel one = {{{"socket", 3}, {"memfd", 1}}, 2, 5, 100};
  const ProcessLevel other = {{{"socket", 2}, {"pidfd", 1}}, 3, 4, 200};
  EXPECT_EQ(Growth(ProcessLevel{{{"socket", 2}}, 2, 4, 100}, Lower(one, other), 0), "");
  EXPECT_EQ(Growth(Lower(one, other), Lower(other, one), 0), "");
}

TEST(LevelTest, MappingAndMemoryAreSeen) {
  const ProcessLevel before = LevelOf(getpid());
  ScopedFd file(memfd_create("level_test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 4096), 0);
  void* const shared = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(shared, MAP_FAILED);
  file.Close();
  EXPECT_THAT(Growth(before, LevelOf(getpid()), 1024), HasSubstr("shared mappings: 0, then 1"));
  munmap(shared, 4096);

  void* const own =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(own, MAP_FAILED);
  std::memset(own, 1, kBytes);
  EXPECT_THAT(Growth(before, LevelOf(getpid()), 1024), HasSubstr("KiB of private memory"));
  EXPECT_EQ(Growth(before, LevelOf(getpid()), 2 * kBytes >> 10), "");
  munmap(own, kBytes);
}

// Goal: so many threads of fabrics with what they hold are forgiven, and nothing else.
TEST(LevelTest, TcpThreadsAreTakenOff) {
  const ProcessLevel before = LevelOf(getpid());
  ProcessLevel after = before;
  after.threads += 2;
  after.descriptors["anon_inode:[eventpoll]"] += 2;
  after.descriptors["anon_inode:[eventfd]"] += 2;
  EXPECT_EQ(Growth(before, WithoutTcpThreads(after, 2), 1024), "");
  EXPECT_THAT(Growth(before, WithoutTcpThreads(after, 1), 1024), HasSubstr("threads"));
  ++after.descriptors["anon_inode:[eventfd]"];
  EXPECT_THAT(Growth(before, WithoutTcpThreads(after, 2), 1024), HasSubstr("eventfd]: 0, then 1"));
}

// Goal: a memfd that lies in a socket's queue is nobody's, as far as /proc can tell, and yet there.
TEST(LevelTest, SharedMemoryOfNobodyIsSeen) {
  ScopedFd file(memfd_create("level_test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), kBytes), 0);
  const std::vector<char> bytes(kBytes, 'x');
  for (size_t done = 0; done < kBytes;) {
    const ssize_t written = write(file.get(), bytes.data() + done, kBytes - done);
    ASSERT_GT(written, 0);
    done += static_cast<size_t>(written);
  }
  const int64_t held_kib = UnaccountedSharedKib();

  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
  const ScopedFd sender(ends[0]);
  ScopedFd receiver(ends[1]);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  char byte = 0;
  iovec data{.iov_base = &byte, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = file.get();
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  ASSERT_EQ(sendmsg(sender.get(), &message, 0), 1);
  file.Close();
  // Neighbours move some memory, too.
  EXPECT_GT(UnaccountedSharedKib(), held_kib + static_cast<int64_t>(kBytes >> 11));
  receiver.Close();
  EXPECT_LT(UnaccountedSharedKib(), held_kib + static_cast<int64_t>(kBytes >> 11));
}

TEST(LevelTest, SocketsAndPortsAreSeen) {
  const auto address = transport::ParseAddress({"127.0.0.1", 0});
  ASSERT_TRUE(address.has_value());
  auto listening = transport::BindSocket(*address);
  ASSERT_TRUE(listening.ok()) << listening.status();
  const std::string name = transport::LocalAddress(listening->get()).ToString();
  EXPECT_FALSE(IsListenedOn(name));
  ASSERT_EQ(transport::StartListening(listening->get()), absl::OkStatus());
  EXPECT_TRUE(IsListenedOn(name));
  // The same port of another host is another address, if nobody listens on all of them.
  EXPECT_FALSE(IsListenedOn("127.9.9.9" + name.substr(name.rfind(':'))));
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  ScopedFd one(ends[0]);
  ScopedFd other(ends[1]);

  const std::set<uint64_t> mine = SocketsOf(getpid());
  EXPECT_EQ(mine.size(), 3u);
  std::set<uint64_t> all = SocketsOfMachine();
  for (const uint64_t socket : mine) EXPECT_EQ(all.count(socket), 1u) << socket;
  listening->Close();
  one.Close();
  other.Close();
  all = SocketsOfMachine();
  for (const uint64_t socket : mine) EXPECT_EQ(all.count(socket), 0u) << socket;
  EXPECT_FALSE(IsListenedOn(name));
}

TEST(LevelTest, ProcessIsFoundByItsMark) {
  const std::string mark = absl::StrCat("ACRE_LEVEL_TEST=", getpid());
  EXPECT_THAT(ProcessesWith(mark), testing::IsEmpty());
  std::string program = "/bin/cat";
  std::string variable = mark;
  char* arguments[] = {program.data(), nullptr};
  char* environment[] = {variable.data(), nullptr};
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);  // It reads till it is killed.
  const ScopedFd read_end(ends[0]);
  const ScopedFd write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, read_end.get(), STDIN_FILENO);
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, arguments[0], &actions, nullptr, arguments, environment), 0);
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_THAT(ProcessesWith(mark), testing::ElementsAre(child));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_THAT(ProcessesWith(mark), testing::IsEmpty());
}

TEST(ValuesTest, WholeValuesHaveNamesAndOthersDoNot) {
  for (const size_t bytes : {0, 1, 48, 1000, 100'000}) {
    const std::string value = MakeValue(3, 77, bytes);
    EXPECT_GE(value.size(), bytes);
    const std::string name = NameOfValue(value);
    EXPECT_EQ(name, absl::StrCat("3.77.", bytes));
    EXPECT_EQ(NameOfValue(name), "?" + name) << "a name is no value";
    std::string damaged = value;
    damaged.back() = damaged.back() == 'x' ? 'y' : 'x';
    EXPECT_EQ(NameOfValue(damaged), "?" + damaged);
    EXPECT_NE(NameOfValue(value.substr(0, value.size() - 1)), name);
    EXPECT_NE(NameOfValue(value + "a"), name);
  }
  EXPECT_EQ(NameOfValue(""), "?");
  EXPECT_EQ(NameOfValue("1.2.99999999999|a"), "?1.2.99999999999|a");
}

// Goal: a seed is a script, and no script kills who shall live.
TEST(PlanTest, FollowsFromTheSeedAndSparesTheImmortals) {
  Random one(5);
  Random other(5);
  for (int i = 0; i < 1000; ++i) {
    const size_t servers = 1 + static_cast<size_t>(i % 3);
    const bool is_trusted = i % 2 == 0;
    const Plan plan = Plan::Draw(servers, 8, 4, is_trusted, &one);
    EXPECT_EQ(plan.ToText(), Plan::Draw(servers, 8, 4, is_trusted, &other).ToText());
    ASSERT_EQ(plan.servers.size(), servers);
    ASSERT_EQ(plan.clients.size(), 8u);
    for (size_t k = 0; k < 4; ++k) EXPECT_NE(plan.clients[k].fate, ClientFate::kKilled);
  }
}

// What is done to a server, letter by letter; its blows come in their order, however close they are.
std::string BlowsOn(const Plan& plan, size_t server) {
  std::string letters;
  for (const Blow& blow : plan.Blows()) {
    if (blow.place != server) continue;
    switch (blow.kind) {
      case BlowKind::kFreezeServer:
        letters += 'f';
        break;
      case BlowKind::kThawServer:
        letters += 'c';
        break;
      case BlowKind::kTellServer:
        letters += 't';
        break;
      case BlowKind::kStopServer:
        letters += 's';
        break;
      case BlowKind::kKillServer:
        letters += 'k';
        break;
      case BlowKind::kLaunchServer:
        letters += 'l';
        break;
      case BlowKind::kFreezeClient:
      case BlowKind::kKillClient:
        break;
    }
  }
  return letters;
}

// Goal: each server gets the blows that make its fate, whatever the others get, and the text names it.
TEST(PlanTest, EachServerHasItsFate) {
  const std::pair<ServerFate, const char*> fates[] = {{ServerFate::kLives, ""},
                                                      {ServerFate::kFrozen, "fc"},
                                                      {ServerFate::kStopped, "sl"},
                                                      {ServerFate::kKilled, "kl"},
                                                      {ServerFate::kKilledFrozen, "fkl"},
                                                      {ServerFate::kKilledStopping, "tkl"},
                                                      {ServerFate::kKilledStarting, "klkl"}};
  for (const auto& [one, blows_on_one] : fates) {
    for (const auto& [other, blows_on_other] : fates) {
      Plan plan;
      plan.servers.resize(2);
      plan.servers[0].fate = one;
      plan.servers[1].fate = other;
      EXPECT_EQ(BlowsOn(plan, 0), blows_on_one);
      EXPECT_EQ(BlowsOn(plan, 1), blows_on_other);
      plan.servers[1].at_us = 5;
      plan.servers[0].between_us = 9;
      EXPECT_EQ(BlowsOn(plan, 0), blows_on_one);
      EXPECT_EQ(BlowsOn(plan, 1), blows_on_other);
      const std::string text = plan.ToText();
      for (const auto& [server, fate] : {std::pair(1, one), std::pair(2, other)}) {
        const std::string words = absl::StrCat("server ", server, " ", NameOf(fate), " at ");
        EXPECT_EQ(absl::StrContains(text, words), fate != ServerFate::kLives) << text;
      }
    }
  }
}

// Goal: every kind of life comes up, and none asks for what there is not.
TEST(LifeTest, AllKindsComeUp) {
  Random random(7);
  std::set<std::string> texts;
  std::map<Trust, std::set<PutPath>> put_paths;  // Of those that may write.
  for (int i = 0; i < 10'000; ++i) {
    const Life life = Life::Draw({}, 8, &random);
    texts.insert(life.ToText());
    for (size_t place = 0; place < life.clients.size(); ++place) {
      const Life::Client& client = life.clients[place];
      if (life.IsWriter(place)) put_paths[life.trust].insert(client.put_path);
      EXPECT_TRUE(life.IsWriter(place) || client.put_path != PutPath::kOneSided);
      EXPECT_EQ(life.MayBeKilledByServers(place),
                client.put_path == PutPath::kOneSided && life.trust == Trust::kShm);
      if (life.trust != Trust::kTcp) continue;
      EXPECT_NE(client.reach, Reach::kShm);
      EXPECT_NE(client.path, Path::kMapped);
    }
    EXPECT_TRUE(life.has_cluster_file || life.servers == 1);
    ASSERT_EQ(life.clients.size(), 8u);
    for (const Life::Client& client : life.clients) {
      if (client.reach == Reach::kTcp) {
        EXPECT_NE(client.path, Path::kMapped);
      }
      EXPECT_EQ(client.path == Path::kTcp, client.reach == Reach::kSocket);
    }
  }
  // Alone or in clusters of one to three; with a secret or not; by one of four ways or by all, with trust by shm one of one,
  // by tcp one of two.
  EXPECT_EQ(texts.size(), 4u * 2u * (5u + 2u + 3u)) << absl::StrJoin(texts, "\n");
  EXPECT_EQ(put_paths, (std::map<Trust, std::set<PutPath>>{
                           {Trust::kShm, {PutPath::kOneSided}},
                           {Trust::kTcp, {PutPath::kAuto, PutPath::kOneSided}}}));
  const Life life = Life::Draw({.servers = 2, .trust = Trust::kTcp}, 8, &random);
  EXPECT_EQ(life.servers, 2u);
  EXPECT_EQ(life.trust, Trust::kTcp);
}

TEST(LifeTest, TrustHasNames) {
  for (const Trust trust : {Trust::kNone, Trust::kShm, Trust::kTcp}) {
    EXPECT_EQ(ParseTrust(NameOf(trust)).value(), trust);
  }
  EXPECT_FALSE(ParseTrust("drawn").ok());
}

}  // namespace
}  // namespace acre::tests
