// Slot: one record, or the address of one, in one cache line that proves its own consistency.
//
//   word 0      {version 48, key length 5, value length 6, home is previous 1, kind 4}
//   words 1-6   body
//   word 7      equal to word 0
//
// Body of kInline: the key's bytes, then the value's, zero bytes or old bytes behind them.
// Body of kOutOfLine: hash; GlobalAddress of the object (kvs/object.h); lengths; checksum.
//
// Consistency. A writer, which holds the bucket's lock, makes word 7 and word 0 odd, writes the
// body, and makes both even with a new version. Versions of a slot only rise. A reader that copies
// the line in ascending or in descending order, and finds word 0 equal to word 7 and even, has one
// writer's body, whole: the word that it loaded first showed no writer at work since that version,
// and a writer that began afterwards made the word that it loads last odd, or newer, before it
// touched the body. Every store of the writer is a release and every load of the reader an acquire,
// so this holds on any CPU, not only where stores stay in order.
// Source: the idea is FaRM's (NSDI'14, section 4.2), which needs a version in every line of an
// object; a slot is one line, so the two words suffice, and they make no assumption on how a card
// samples the line.

#ifndef ACRE_KVS_SLOT_H_
#define ACRE_KVS_SLOT_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/planted_bug.h"
#include "runtime/shared_word.h"
#include "transport/address.h"

namespace acre::kvs {

constexpr size_t kSlotWords = 8;
constexpr size_t kSlotBodyWords = 6;
constexpr size_t kSlotBodyBytes = kSlotBodyWords * kWordBytes;
constexpr size_t kInlineKeyBytesMax = 31;

// A number is never reused.
enum class SlotKind : uint8_t { kEmpty = 0, kInline = 1, kOutOfLine = 2 };

// Whether a record fits into a slot.
inline bool FitsInline(size_t key_bytes, size_t value_bytes) {
  return key_bytes <= kInlineKeyBytesMax && key_bytes + value_bytes <= kSlotBodyBytes;
}

// The first word of a slot (and the last).
class SlotWord {
 public:
  SlotWord() = default;
  constexpr explicit SlotWord(uint64_t bits) : bits_(bits) {}
  constexpr SlotWord(uint64_t version, SlotKind kind, bool home_is_previous, size_t key_bytes,
                     size_t value_bytes)
      : bits_(version << 16 | uint64_t{key_bytes} << 11 | uint64_t{value_bytes} << 5 |
              uint64_t{home_is_previous} << 4 | static_cast<uint64_t>(kind)) {}

  constexpr uint64_t bits() const { return bits_; }
  uint64_t version() const { return bits_ >> 16; }  // Of an odd word: of the body before, plus 1.
  bool is_odd() const { return (bits_ >> 16 & 1) != 0; }  // Locked, or being written.
  SlotKind kind() const { return static_cast<SlotKind>(bits_ & 0xf); }
  // The record's home is the bucket before the one that the slot lies in.
  bool home_is_previous() const { return (bits_ >> 4 & 1) != 0; }
  size_t key_bytes() const { return bits_ >> 11 & 0x1f; }
  size_t value_bytes() const { return bits_ >> 5 & 0x3f; }

  SlotWord MadeOdd() const { return SlotWord(bits_ | uint64_t{1} << 16); }
  friend bool operator==(SlotWord, SlotWord) = default;

 private:
  uint64_t bits_ = 0;
};
static_assert(sizeof(SlotWord) == kWordBytes);

// A slot in shared memory.
struct Slot {
  SharedWord words[kSlotWords];

  SlotWord first() const { return SlotWord(words[0].Load(std::memory_order_acquire)); }
};
static_assert(sizeof(Slot) == kLineBytes);

// Private copy of a slot.
struct SlotCopy {
  uint64_t words[kSlotWords];

  SlotWord first() const { return SlotWord(words[0]); }
  bool IsConsistent() const {
    const bool is_whole =
        words[0] == words[kSlotWords - 1] || IsPlanted(PlantedBug::kLastWordUnchecked);
    return is_whole && !first().is_odd();
  }
  const char* body() const { return reinterpret_cast<const char*>(&words[1]); }
  absl::string_view inline_key() const { return {body(), first().key_bytes()}; }
  absl::string_view inline_value() const {
    return {body() + first().key_bytes(), first().value_bytes()};
  }
  // Whether the lengths of an inline slot lie within the body: a peer's bytes are judged, not
  // trusted.
  bool InlineFits() const {
    return first().key_bytes() > 0 && first().key_bytes() + first().value_bytes() <= kSlotBodyBytes;
  }
  uint64_t object_hash() const { return words[1]; }
  GlobalAddress object_address() const { return GlobalAddress::FromBits(words[2]); }
  uint32_t object_key_bytes() const { return static_cast<uint32_t>(words[3] >> 32); }
  uint32_t object_value_bytes() const { return static_cast<uint32_t>(words[3]); }
  uint64_t object_checksum() const { return words[4]; }
};

// Copies a slot, word 0 first. The caller asks IsConsistent().
inline void LoadSlot(const Slot& slot, SlotCopy* copy) {
#pragma GCC unroll 8
  for (size_t i = 0; i < kSlotWords; ++i) {
    copy->words[i] = slot.words[i].Load(std::memory_order_acquire);
  }
}

// Makes the slot odd. Readers retry from here to FinishSlot(). The caller holds the bucket's lock.
inline void StartSlot(Slot* slot) {
  const SlotWord odd = slot->first().MadeOdd();
  slot->words[kSlotWords - 1].Store(odd.bits(), std::memory_order_release);
  slot->words[0].Store(odd.bits(), std::memory_order_release);
}
// Makes the slot even with its new first word, whose version exceeds all that the slot ever had.
inline void FinishSlot(Slot* slot, SlotWord word) {
  slot->words[kSlotWords - 1].Store(word.bits(), std::memory_order_release);
  slot->words[0].Store(word.bits(), std::memory_order_release);
}

// Writes a whole slot; `body_words` of `body` are stored, the rest of the body keeps what it holds.
inline void WriteSlot(Slot* slot, SlotWord word, const uint64_t* body, size_t body_words) {
  StartSlot(slot);
  if (IsPlanted(PlantedBug::kEvenBeforeBody)) FinishSlot(slot, word);
  for (size_t i = 0; i < body_words; ++i) {
    slot->words[1 + i].Store(body[i], std::memory_order_release);
  }
  FinishSlot(slot, word);
}

// What a slot is filled with, before it has a version and a place.
struct SlotContent {
  SlotKind kind = SlotKind::kEmpty;
  uint8_t key_bytes = 0;
  uint8_t value_bytes = 0;
  uint8_t body_words = 0;
  uint64_t body[kSlotBodyWords] = {};

  static SlotContent Inline(absl::string_view key, absl::string_view value) {
    SlotContent content;
    content.kind = SlotKind::kInline;
    content.key_bytes = static_cast<uint8_t>(key.size());
    content.value_bytes = static_cast<uint8_t>(value.size());
    content.body_words = static_cast<uint8_t>((key.size() + value.size() + 7) / kWordBytes);
    char* const bytes = reinterpret_cast<char*>(content.body);
    std::copy(key.begin(), key.end(), bytes);
    std::copy(value.begin(), value.end(), bytes + key.size());
    return content;
  }
  static SlotContent OutOfLine(uint64_t hash, GlobalAddress address, size_t key_bytes,
                               size_t value_bytes, uint64_t checksum) {
    SlotContent content;
    content.kind = SlotKind::kOutOfLine;
    content.body_words = 4;
    content.body[0] = hash;
    content.body[1] = address.bits();
    content.body[2] = uint64_t{key_bytes} << 32 | value_bytes;
    content.body[3] = checksum;
    return content;
  }
  static SlotContent Of(const SlotCopy& copy) {
    SlotContent content;
    content.kind = copy.first().kind();
    content.key_bytes = static_cast<uint8_t>(copy.first().key_bytes());
    content.value_bytes = static_cast<uint8_t>(copy.first().value_bytes());
    content.body_words = kSlotBodyWords;
    std::copy(copy.words + 1, copy.words + 1 + kSlotBodyWords, content.body);
    return content;
  }
  SlotWord Word(uint64_t version, bool home_is_previous) const {
    return SlotWord(version, kind, home_is_previous, key_bytes, value_bytes);
  }
};

// A key made of whole words, few enough for a slot.
inline bool IsAlignedKey(absl::string_view key) {
  return key.size() % kWordBytes == 0 && key.size() - 1 < kInlineKeyBytesMax;
}

constexpr size_t kInlineKeyWords = (kInlineKeyBytesMax + kWordBytes - 1) / kWordBytes;

// For every length of an inline key: which bits of its words count.
struct KeyMasks {
  constexpr KeyMasks() {
    for (size_t i = 0; i <= kInlineKeyBytesMax; ++i) {
      for (size_t byte = 0; byte < i; ++byte) {
        words[i][byte / kWordBytes] |= uint64_t{0xff} << (byte % kWordBytes * 8);
      }
    }
  }
  uint64_t words[kInlineKeyBytesMax + 1][kInlineKeyWords] = {};
};
inline constexpr KeyMasks kKeyMasks;

namespace slot_internal {

// The word at bytes of private memory.
inline uint64_t WordAt(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));  // private memory
  return word;
}

}  // namespace slot_internal

// A key, laid out for comparison with the bodies of slots: a key of whole words where it stands, any
// other as four words under masks. No call, since a lookup is a cache miss or two and its instructions
// take their places in the reorder buffer: the fewer, the more lookups overlap (docs/lookup.md).
class KeyWords {
 public:
  explicit KeyWords(absl::string_view key) : key_(key) {
    if (is_aligned()) [[likely]]
      return;  // Its words are loaded where they stand.
    if (key.size() <= kInlineKeyBytesMax) {
      std::copy(key.begin(), key.end(), reinterpret_cast<char*>(words_));
    }
  }
  absl::string_view key() const { return key_; }
  // The key is made of whole words, few enough for a slot.
  bool is_aligned() const { return IsAlignedKey(key_); }
  // Whether the slot holds this key inline. The copy is consistent.
  bool IsInlineIn(const SlotCopy& copy) const {
    const SlotWord first = copy.first();
    if (first.kind() != SlotKind::kInline || first.key_bytes() != key_.size()) return false;
    // The slot's length is at most 31, so the key's is now.
    uint64_t differs = 0;
    if (is_aligned()) [[likely]] {
      for (size_t i = 0; i < key_.size() / kWordBytes; ++i) {
        differs |= copy.words[1 + i] ^ slot_internal::WordAt(key_.data() + i * kWordBytes);
      }
      return differs == 0;
    }
    const auto& masks = kKeyMasks.words[key_.size()];
#pragma GCC unroll 4
    for (size_t i = 0; i < kInlineKeyWords; ++i) {
      differs |= (copy.words[1 + i] ^ words_[i]) & masks[i];
    }
    return differs == 0;
  }

 private:
  absl::string_view key_;
  uint64_t words_[kInlineKeyWords] = {};  // Of a short key that is not aligned; zeros behind it.
};

// Replaces *value by the value of an inline slot. The copy was stored as words: it is loaded as
// words too, since a wider load would wait until those stores have left the store buffer.
inline void AssignInlineValue(const SlotCopy& copy, std::string* value) {
  const absl::string_view from = copy.inline_value();
  value->resize(from.size());
  char* const to = value->data();
  size_t i = 0;
  for (; i + kWordBytes <= from.size(); i += kWordBytes) {
    std::memcpy(to + i, from.data() + i, kWordBytes);  // private memory
  }
  for (; i < from.size(); ++i) to[i] = from[i];
}

namespace slot_internal {

// MatchAlignedInline() for a key of kKeyWords words: every place in the slot is a constant.
template <size_t kKeyWords>
__attribute__((always_inline)) inline bool MatchKeyWords(const Slot& slot, const char* key,
                                                         std::string* value) {
  // Kind, lengths, and the version's odd bit, in one comparison.
  constexpr uint64_t kShapeMask = uint64_t{1} << 16 | uint64_t{0x1f} << 11 | 0xf;
  constexpr uint64_t kLengthMask = uint64_t{0x3f} << 5;
  constexpr uint64_t kShape =
      SlotWord(0, SlotKind::kInline, false, kKeyWords * kWordBytes, 0).bits();
  constexpr size_t kRoom = kSlotBodyBytes - kKeyWords * kWordBytes;
  const SlotWord first(slot.words[0].Load(std::memory_order_acquire));
  size_t left = value->size();
  if (left > kRoom || (first.bits() & (kShapeMask | kLengthMask)) != (kShape | left << 5))
      [[unlikely]] {
    if ((first.bits() & kShapeMask) != kShape) return false;
    left = first.value_bytes();
    // A peer's lengths must not lead out of the slot: left to the general way's InlineFits().
    if (left > kRoom) return false;
    value->resize(left);
  }
#pragma GCC unroll 3
  for (size_t i = 0; i < kKeyWords; ++i) {
    if (slot.words[1 + i].Load(std::memory_order_acquire) != WordAt(key + i * kWordBytes))
        [[unlikely]]
      return false;
  }
  char* const to = value->data();
  size_t done = 0;  // Constant in each round of the unrolled loop.
#pragma GCC unroll 3
  for (size_t pair = 0; pair < (kRoom + 8) / 16; ++pair) {
    if (left - done < 16) break;
    LoadPair(&slot.words[1 + kKeyWords + 2 * pair]).StoreTo(to + done);
    done += 16;
  }
  while (done != left) {
    const uint64_t rest =
        slot.words[1 + kKeyWords + done / kWordBytes].Load(std::memory_order_acquire);
    const size_t bytes = std::min(left - done, kWordBytes);
    std::memcpy(to + done, &rest, bytes);  // private memory
    done += bytes;
  }
  const uint64_t last = slot.words[kSlotWords - 1].Load(std::memory_order_acquire);
  return last == first.bits() || IsPlanted(PlantedBug::kLastWordUnchecked);
}

}  // namespace slot_internal

// LoadSlot, IsConsistent, IsInlineIn and AssignInlineValue in one, for keys of whole words
// (IsAlignedKey): no copy, no call, and few instructions that wait for the slot to arrive. Those are
// what fills the CPU's scheduler and so ends the overlap with the next lookup (docs/lookup.md): lengths
// are taken from the key and from what *value holds already, the slot's are only compared with them.
// False says nothing: the slot may be another key's, torn, or of an owner that lies, and *value is
// unspecified.
__attribute__((always_inline)) inline bool MatchAlignedInline(const Slot& slot,
                                                              absl::string_view key,
                                                              std::string* value) {
  switch (key.size() / kWordBytes) {
    case 1:
      return slot_internal::MatchKeyWords<1>(slot, key.data(), value);
    case 2:
      return slot_internal::MatchKeyWords<2>(slot, key.data(), value);
    default:
      return slot_internal::MatchKeyWords<3>(slot, key.data(), value);
  }
}

}  // namespace acre::kvs

#endif  // ACRE_KVS_SLOT_H_
