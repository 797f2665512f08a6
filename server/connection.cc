#include "server/connection.h"

#include <utility>

namespace acre::server {

Connection::Connection(const ConnectionContext& context, transport::Link link)
    : context_(context),
      open_(context.open_count),
      link_(std::move(link)),
      rpc_(context.scheduler, link_.channel(), context.handler),
      epoch_word_(link_.channel()->peer_words() + kvs::kEpochPeerWord) {
  context_.epochs->Add(epoch_word_, context_.scheduler->NowNs());
  context_.port->SetSink(link_.queue_pair(), this);
}

Connection::~Connection() {
  CountVerbs();
  context_.epochs->Remove(epoch_word_);
  context_.port->SetSink(link_.queue_pair(), nullptr);
}

void Connection::OnCompletion(const transport::Completion& completion) {
  link_.channel()->OnCompletion(completion);
}

bool Connection::Poll() {
  const bool worked = rpc_.Poll();
  CountVerbs();
  return worked;
}

void Connection::CountVerbs() {
  if (context_.verbs == nullptr) return;
  transport::VerbCounters added = link_.queue_pair()->verbs();
  if (added.doorbells == counted_.doorbells) return;
  added -= std::exchange(counted_, added);
  AddToCounter(&context_.verbs->reads, added.reads);
  AddToCounter(&context_.verbs->writes, added.writes);
  AddToCounter(&context_.verbs->atomics, added.atomics);
  AddToCounter(&context_.verbs->doorbells, added.doorbells);
}

bool Connection::IsBroken() const {
  return !link_.channel()->status().ok() ||
         link_.queue_pair()->state() == transport::QueuePairState::kBroken;
}

ConnectionSet::ConnectionSet(Scheduler* scheduler) : scheduler_(scheduler) {
  scheduler_->AddPoller(this);
}

ConnectionSet::~ConnectionSet() { scheduler_->RemovePoller(this); }

void ConnectionSet::Add(std::unique_ptr<Connection> connection) {
  connections_.push_back(std::move(connection));
}

bool ConnectionSet::Poll() {
  bool worked = false;
  for (auto it = connections_.begin(); it != connections_.end();) {
    if ((*it)->Poll()) worked = true;
    if ((*it)->IsBroken()) {
      it = connections_.erase(it);
      worked = true;
    } else {
      ++it;
    }
  }
  return worked;
}

}  // namespace acre::server
