#include "bench/transactions/redis.h"

#include <poll.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "bench/transactions/server_processes.h"
#include "bench/transactions/transfer.h"

namespace acre::bench {
namespace {

constexpr int kPort = 7500;
constexpr uint32_t kLoadBatch = 1000;
constexpr uint32_t kCommands = 6;
constexpr size_t kExecAnswers = 4;

absl::Status BrokenError(const redisContext* context) {
  return absl::UnavailableError(absl::StrCat("redis-server: ", context->errstr));
}

}  // namespace

const char* RedisWayName(RedisWay way) {
  switch (way) {
    case RedisWay::kPipelined:
      return "redis, pipelined";
    case RedisWay::kOneByOne:
      return "redis, one by one";
  }
  return "?";
}

uint32_t RedisConnections(RedisWay way) {
  return way == RedisWay::kPipelined ? kRedisConnections : 1;
}

absl::StatusOr<std::unique_ptr<RedisTransfer>> RedisTransfer::Start(const UnitChoice& choice,
                                                                    Clock* clock) {
  auto transfer = absl::WrapUnique(new RedisTransfer(choice, clock));
  absl::Status status = transfer->StartServer();
  if (status.ok()) status = transfer->Load();
  if (!status.ok()) return status;
  return transfer;
}

absl::Status RedisTransfer::StartServer() {
  auto folder = ScratchFolder::Create();
  if (!folder.ok()) return folder.status();
  folder_ = *std::move(folder);
  const std::string host = OwnHost();
  auto server = Program::Start({"redis-server", "--bind", host, "--port", absl::StrCat(kPort),
                                "--save", "", "--appendonly", "no", "--dir", folder_->path()},
                               absl::StrCat(folder_->path(), "/redis.log"));
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  const absl::StatusOr<std::string> ready = server_->WaitForLine("Ready to accept");
  if (!ready.ok()) {
    return absl::NotFoundError(absl::StrCat(
        ready.status().message(), "; if there is no redis-server: apt-get install redis-server"));
  }
  for (uint32_t i = 0; i < kRedisConnections; ++i) {
    if (absl::Status status = Connect(host, kPort); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RedisTransfer::Connect(const std::string& host, int port) {
  Connection connection;
  connection.context.reset(redisConnect(host.c_str(), port));
  if (connection.context == nullptr) return absl::ResourceExhaustedError("redisConnect");
  if (connection.context->err != 0) return BrokenError(connection.context.get());
  connections_.push_back(std::move(connection));
  return absl::OkStatus();
}

absl::Status RedisTransfer::Load() {
  redisContext* const context = connections_[0].context.get();
  for (uint32_t first = 0; first < choice_.units_count; first += kLoadBatch) {
    const uint32_t end = std::min(first + kLoadBatch, choice_.units_count);
    for (uint32_t account = first; account < end; ++account) {
      const absl::Status status =
          Append(context, {"SET", TransferKey(keys_, account), EncodeNumber(0)});
      if (!status.ok()) return status;
    }
    for (uint32_t account = first; account < end; ++account) {
      void* answer = nullptr;
      if (redisGetReply(context, &answer) != REDIS_OK) return BrokenError(context);
      if (absl::Status status = TakeAnswer(context, answer, false); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

RedisTransfer::Commands RedisTransfer::NextTransaction() {
  const auto [from, to] = PickTwoUnits(choice_, &random_);
  const std::string from_key = TransferKey(keys_, from);
  const std::string to_key = TransferKey(keys_, to);
  const auto amount = static_cast<int64_t>(random_.Uniform(100) + 1);
  return {{"MULTI"},
          {"GET", from_key},
          {"GET", to_key},
          {"SET", from_key, EncodeNumber(-amount)},
          {"SET", to_key, EncodeNumber(amount)},
          {"EXEC"}};
}

absl::Status RedisTransfer::Append(redisContext* context, const std::vector<std::string>& command) {
  const char* words[3] = {};
  size_t lengths[3] = {};
  for (size_t i = 0; i < command.size(); ++i) {
    words[i] = command[i].data();
    lengths[i] = command[i].size();
  }
  if (redisAppendCommandArgv(context, static_cast<int>(command.size()), words, lengths) !=
      REDIS_OK) {
    return BrokenError(context);
  }
  return absl::OkStatus();
}

absl::Status RedisTransfer::Flush(redisContext* context) {
  int done = 0;
  while (done == 0) {
    if (redisBufferWrite(context, &done) != REDIS_OK) return BrokenError(context);
  }
  return absl::OkStatus();
}

absl::Status RedisTransfer::Begin(Connection* connection) {
  redisContext* const context = connection->context.get();
  for (const std::vector<std::string>& command : NextTransaction()) {
    if (absl::Status status = Append(context, command); !status.ok()) return status;
  }
  connection->answers_left = kCommands;
  connection->begin_ns = clock_->NowNs();
  return Flush(context);
}

absl::Status RedisTransfer::TakeAnswer(redisContext* context, void* answer, bool is_last) {
  if (answer == nullptr) return BrokenError(context);
  auto* const reply = static_cast<redisReply*>(answer);
  absl::Status status;
  if (reply->type == REDIS_REPLY_ERROR) {
    status = absl::InternalError(absl::StrCat("redis-server: ", reply->str));
  } else if (is_last && (reply->type != REDIS_REPLY_ARRAY || reply->elements != kExecAnswers)) {
    status = absl::InternalError("redis-server: EXEC gave not four answers");
  }
  freeReplyObject(reply);
  return status;
}

absl::StatusOr<bool> RedisTransfer::TakeAnswers(Connection* connection) {
  redisContext* const context = connection->context.get();
  if (redisBufferRead(context) != REDIS_OK) return BrokenError(context);
  while (connection->answers_left > 0) {
    void* answer = nullptr;
    if (redisGetReplyFromReader(context, &answer) != REDIS_OK) return BrokenError(context);
    if (answer == nullptr) return false;  // Not all of it has come.
    --connection->answers_left;
    const absl::Status status = TakeAnswer(context, answer, connection->answers_left == 0);
    if (!status.ok()) return status;
  }
  return true;
}

absl::Status RedisTransfer::RunPipelined(uint64_t end_ns, Result* result) {
  std::vector<pollfd> awaited;
  for (Connection& connection : connections_) {
    if (absl::Status status = Begin(&connection); !status.ok()) return status;
    awaited.push_back({.fd = connection.context->fd, .events = POLLIN, .revents = 0});
  }
  for (size_t under_way = awaited.size(); under_way > 0;) {
    // Interrupted: nothing is ready.
    if (poll(awaited.data(), awaited.size(), /*timeout=*/-1) < 0) continue;
    for (size_t i = 0; i < awaited.size(); ++i) {
      if (awaited[i].fd < 0 || awaited[i].revents == 0) continue;
      Connection& connection = connections_[i];
      const absl::StatusOr<bool> ended = TakeAnswers(&connection);
      if (!ended.ok()) return ended.status();
      if (!*ended) continue;
      const uint64_t now_ns = clock_->NowNs();
      ++result->committed;
      result->latency_ns.Add(now_ns - connection.begin_ns);
      if (now_ns < end_ns) {
        if (absl::Status status = Begin(&connection); !status.ok()) return status;
      } else {
        awaited[i].fd = -1;
        --under_way;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RedisTransfer::RunOneByOne(uint64_t end_ns, Result* result) {
  redisContext* const context = connections_[0].context.get();
  for (uint64_t begin_ns = clock_->NowNs(); begin_ns < end_ns;) {
    uint32_t answers_left = kCommands;
    for (const std::vector<std::string>& command : NextTransaction()) {
      if (absl::Status status = Append(context, command); !status.ok()) return status;
      void* answer = nullptr;
      if (redisGetReply(context, &answer) != REDIS_OK) return BrokenError(context);
      --answers_left;
      const absl::Status status = TakeAnswer(context, answer, answers_left == 0);
      if (!status.ok()) return status;
    }
    const uint64_t now_ns = clock_->NowNs();
    ++result->committed;
    result->latency_ns.Add(now_ns - begin_ns);
    begin_ns = now_ns;
  }
  return absl::OkStatus();
}

absl::StatusOr<RedisTransfer::Result> RedisTransfer::Run(RedisWay way, uint64_t run_ns) {
  Result result;
  const uint64_t begin_ns = clock_->NowNs();
  const absl::Status status = way == RedisWay::kPipelined ? RunPipelined(begin_ns + run_ns, &result)
                                                          : RunOneByOne(begin_ns + run_ns, &result);
  if (!status.ok()) return status;
  result.run_ns = clock_->NowNs() - begin_ns;
  return result;
}

}  // namespace acre::bench
