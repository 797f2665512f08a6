// SimSurvivors: what a home asks of other processes while it repairs, among simulated processes: messages, as slow as
// messages are.

#ifndef ACRE_LOCK_SIM_SURVIVORS_H_
#define ACRE_LOCK_SIM_SURVIVORS_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lock/lock_repair.h"
#include "lock/lock_test_mesh.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/shared_word.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"

namespace acre {

class SimSurvivors final : public LockSurvivors {
 public:
  struct Options {
    LockNode* home = nullptr;
    Random* random = nullptr;  // How slow they are.
    std::function<LockNode*(uint32_t process_id)> find_node;
    std::function<bool(uint32_t process_id)> is_dead;
    bool fences = true;  // Whoever is asked closes its queue pairs with the dead. false: a mistake.
  };
  explicit SimSurvivors(Options options) : options_(std::move(options)) {}

  // To be called by a thread of the node's process, again and again.
  void AnswerQuestions(LockNode* node) {
    auto& questions = questions_[node->process_id()];
    while (!questions.empty()) {
      const std::shared_ptr<Question> question = questions.front();
      questions.pop_front();
      question->ask();
      question->is_answered = true;
    }
  }
  // Has that process do something, when it answers next.
  void Tell(uint32_t process_id, std::function<void()> what) {
    const auto question = std::make_shared<Question>();
    question->ask = std::move(what);
    questions_[process_id].push_back(question);
  }

  Task<absl::StatusOr<bool>> StandBy(RemoteWord word, absl::Span<const uint32_t> dead) override {
    const std::vector<uint32_t> ids(dead.begin(), dead.end());
    return AskWhether(word, dead, [word, ids](RemoteDescriptors* descriptors) {
      return descriptors->StandBy(word, ids);
    });
  }
  Task<absl::StatusOr<bool>> HasGrant(RemoteWord word, absl::Span<const uint32_t> dead) override {
    return AskWhether(
        word, dead, [word](RemoteDescriptors* descriptors) { return descriptors->HasGrant(word); });
  }
  Task<absl::Status> SetSuccessor(RemoteWord word, RemoteWord successor) override {
    return Ask(word.process_id(), [word, successor](LockNode* node) {
      node->descriptors()->SetSuccessor(word, successor);
    });
  }
  Task<absl::Status> GrantLeadership(RemoteWord word) override {
    return Ask(word.process_id(),
               [word](LockNode* node) { node->descriptors()->GrantLeadership(word); });
  }

 private:
  static constexpr uint64_t kUs = 1'000;
  static constexpr uint64_t kAnswerTimeoutNs = 5'000 * kUs;

  struct Question {
    std::function<void()> ask;  // In the process that is asked.
    bool is_answered = false;
  };
  Task<absl::Status> Ask(uint32_t process, std::function<void(LockNode*)> ask) {
    LockNode* const node = options_.find_node(process);
    const auto question = std::make_shared<Question>();
    question->ask = [node, ask] { ask(node); };
    Scheduler& scheduler = options_.home->scheduler();
    // A message's doorbell stands behind what this thread has stored (the data that it repaired): so does the question,
    // which no card carries. A locked instruction empties the store buffer.
    (void)doorbell_.Exchange(1, std::memory_order_acq_rel);
    co_await scheduler.SleepFor(options_.random->Uniform(30 * kUs));
    questions_[process].push_back(question);
    const uint64_t deadline_ns = scheduler.NowNs() + kAnswerTimeoutNs;
    while (!question->is_answered) {
      if (options_.is_dead(process)) co_return absl::UnavailableError("it is dead");
      if (scheduler.NowNs() > deadline_ns) co_return absl::DeadlineExceededError("no answer");
      co_await scheduler.SleepFor(kUs);
    }
    co_await scheduler.SleepFor(options_.random->Uniform(30 * kUs));
    co_return absl::OkStatus();
  }
  Task<absl::StatusOr<bool>> AskWhether(RemoteWord word, absl::Span<const uint32_t> of,
                                        std::function<bool(RemoteDescriptors*)> whether) {
    const auto answer = std::make_shared<bool>();
    const auto dead = std::make_shared<std::vector<uint32_t>>(of.begin(), of.end());
    const bool fences = options_.fences;
    const std::function<void(LockNode*)> ask = [fences, dead, answer, whether](LockNode* node) {
      if (fences) {
        for (const uint32_t id : *dead) node->CloseTo(id);
      }
      *answer = whether(node->descriptors());
    };
    const absl::Status status = co_await Ask(word.process_id(), ask);
    if (!status.ok()) co_return status;
    co_return *answer;
  }

  const Options options_;
  SharedWord doorbell_;
  std::map<uint32_t, std::deque<std::shared_ptr<Question>>> questions_;
};

}  // namespace acre

#endif  // ACRE_LOCK_SIM_SURVIVORS_H_
