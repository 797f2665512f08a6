#include "runtime/sim/process.h"

#include <algorithm>
#include <utility>

#include "glog/logging.h"
#include "runtime/sim/world.h"

namespace acre::sim {

Process::Process(World* world, Machine* machine, std::string name, uint32_t id)
    : world_(world), machine_(machine), name_(std::move(name)), id_(id) {}

Thread* Process::Spawn(std::string name, std::function<void()> body) {
  CHECK(!is_dead_) << name_ << " is dead";
  return world_->AddThread(this, std::move(name), std::move(body));
}

void Process::Kill() {
  if (is_dead_) return;
  world_->Record("killed", id_);
  Die(/*memory_is_gone=*/false);
  if (world_->current_process() == this) world_->EndCurrent();
}

void Process::Die(bool memory_is_gone) {
  is_dead_ = true;
  for (Thread* const thread : threads_) world_->Forget(thread, memory_is_gone);
  standing_.clear();
  for (std::function<void()>& callback : on_death_) world_->After(0, std::move(callback));
  on_death_.clear();
}

void Process::Pause() {
  if (is_dead_ || is_paused_) return;
  world_->Record("paused", id_);
  is_paused_ = true;
  // It stands still now; the heap takes it to where the paused ones wait.
  if (world_->current_process() == this) world_->Sleep(0);
}

void Process::Resume() {
  if (!is_paused_ || is_dead_) return;
  world_->Record("resumed", id_);
  is_paused_ = false;
  for (Thread* const thread : std::exchange(standing_, {})) {
    // Each runs soon, in any order.
    world_->Schedule(thread, world_->costs().WakeUp());
  }
}

void Process::OnDeath(std::function<void()> callback) {
  if (is_dead_) return world_->After(0, std::move(callback));
  on_death_.push_back(std::move(callback));
}

}  // namespace acre::sim
