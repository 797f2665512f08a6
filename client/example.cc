// The client library in one page: the example of README.md. example [HOST:PORT]

#include <iostream>
#include <string>
#include <vector>

#include "client/client.h"

int Fail(const absl::Status& status) {
  std::cerr << "example: " << status.message() << "\n";
  return 1;
}

int main(int argc, char** argv) {
  acre::ClientOptions options;
  options.servers = {argc > 1 ? argv[1] : "127.0.0.1:7400"};
  auto client = acre::Client::Connect(options);
  if (!client.ok()) return Fail(client.status());

  absl::Status status = (*client)->Put("greeting", "hello");
  if (!status.ok()) return Fail(status);

  std::string value;  // Reused by each Get: no allocation once it is large enough.
  status = (*client)->Get("greeting", &value);
  if (!status.ok()) return Fail(status);
  std::cout << "greeting: " << value << "\n";

  const std::vector<absl::string_view> keys = {"greeting", "no such key"};
  for (const absl::StatusOr<std::string>& found : (*client)->MultiGet(keys)) {
    std::cout << (found.ok() ? *found : std::string(found.status().message())) << "\n";
  }

  status = (*client)->Delete("greeting");
  return status.ok() ? 0 : Fail(status);
}
