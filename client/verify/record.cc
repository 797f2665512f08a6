#include "client/verify/record.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace acre::verify {
namespace {

constexpr size_t kNumberBytes = sizeof(int32_t);

void AppendNumber(uint32_t number, std::string* value) {
  char bytes[kNumberBytes];
  std::memcpy(bytes, &number, sizeof(bytes));
  value->append(bytes, sizeof(bytes));
}

int32_t NumberAt(absl::string_view value, size_t index) {
  int32_t number;
  std::memcpy(&number, value.data() + index * kNumberBytes, sizeof(number));
  return number;
}

uint32_t TagOf(const Epoch& epoch, const KeyId& key) {
  uint64_t hash =
      2 * (uint64_t{epoch.number} << 32 | key.number) + (key.family == Family::kRegister ? 1 : 0);
  hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9;
  return static_cast<uint32_t>(hash >> 32);
}

// How many numbers a register's value has, the tag apart.
size_t RegisterNumbers(const KeyId& key) {
  switch (key.number % 4) {
    case 1:
      return 24;
    case 3:
      return 1249;
    default:
      return 1;
  }
}

}  // namespace

std::string KeyName(const Epoch& epoch, const KeyId& key, bool other_place) {
  return absl::StrCat(epoch.prefix, "/", epoch.number, key.family == Family::kList ? "/l" : "/r",
                      key.number, other_place ? "b" : "");
}

void EncodeList(const Epoch& epoch, const KeyId& key, const std::vector<int32_t>& elements,
                std::string* value) {
  value->clear();
  AppendNumber(TagOf(epoch, key), value);
  for (const int32_t element : elements) AppendNumber(static_cast<uint32_t>(element), value);
}

void EncodeRegister(const Epoch& epoch, const KeyId& key, int32_t number, std::string* value) {
  value->clear();
  AppendNumber(TagOf(epoch, key), value);
  for (size_t i = 0; i < RegisterNumbers(key); ++i) {
    AppendNumber(static_cast<uint32_t>(number), value);
  }
}

void Decode(const Epoch& epoch, const KeyId& key, absl::string_view value,
            std::vector<int32_t>* numbers) {
  numbers->clear();
  bool is_readable = value.size() >= kNumberBytes && value.size() % kNumberBytes == 0 &&
                     static_cast<uint32_t>(NumberAt(value, 0)) == TagOf(epoch, key);
  const size_t count = value.size() / kNumberBytes;
  if (is_readable) {
    for (size_t i = 1; i < count; ++i) numbers->push_back(NumberAt(value, i));
  }
  if (is_readable && key.family == Family::kRegister) {
    is_readable = numbers->size() == RegisterNumbers(key) &&
                  std::count(numbers->begin(), numbers->end(), numbers->front()) ==
                      static_cast<int64_t>(numbers->size());
    numbers->resize(1);
  } else if (is_readable) {
    is_readable = numbers->size() <= kWritesPerKeyMax;
  }
  if (!is_readable) numbers->assign(1, kUnreadable);
}

}  // namespace acre::verify
