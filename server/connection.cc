#include "server/connection.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace acre::server {
namespace {

std::string NameOfClient(uint32_t process_id, const transport::QueuePair& queue_pair) {
  std::string name = absl::StrCat("client_", process_id);
  if (queue_pair.peer_pid() != 0) absl::StrAppend(&name, "(pid_", queue_pair.peer_pid(), ")");
  return name;
}

}  // namespace

Connection::Connection(const ConnectionContext& context, transport::Link link, uint32_t process_id)
    : context_(context),
      open_(context.open_count),
      seat_(context.seat),
      link_(std::move(link)),
      handler_(context.handler, NameOfClient(process_id, *link_.queue_pair())),
      transactions_(InFront(context.transactions, &seat_)),
      rpc_(context.scheduler, link_.channel(), &transactions_),
      epoch_word_(link_.channel()->peer_words() + kvs::kEpochPeerWord) {
  seat_.Attach(link_.queue_pair(), &handler_);
  context_.epochs->Add(epoch_word_, context_.scheduler->NowNs());
  context_.port->SetSink(link_.queue_pair(), this);
}

Connection::~Connection() {
  CountVerbs();
  context_.epochs->Remove(epoch_word_);
  context_.port->SetSink(link_.queue_pair(), nullptr);
  // Whoever ended it: from here on nothing is told to be placed, nothing more can come, and what came is taken.
  link_.channel()->CloseGate();
  link_.BreakQueuePair();
  rpc_.Drain();
  transactions_.OnEnd();
}

TransactionHandlerContext Connection::InFront(TransactionHandlerContext transactions,
                                              transport::RpcHandler* next) {
  transactions.next = next;
  return transactions;
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

void ConnectionSet::Close(uint64_t id) {
  connections_.remove_if([id](const auto& connection) { return connection->id() == id; });
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
