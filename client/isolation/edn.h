// EdnReader: the words of EDN, the notation that Clojure's programs write their data in, one after the other.
//
// It knows what the words are and where they end, and the nesting of what is skipped; what they mean is its
// caller's affair. Commas are spaces, `;` begins a comment, `#_` drops the form behind it, and a tag
// (`#name`) is dropped: the form behind it stays.

#ifndef ACRE_CLIENT_ISOLATION_EDN_H_
#define ACRE_CLIENT_ISOLATION_EDN_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace acre::isolation {

enum class WordKind : uint8_t {
  kEnd,      // Of the text.
  kOpen,     // { [ ( or #{
  kClose,    // } ] or )
  kInteger,  // Digits, with a sign or not. Whether it fits 64 bits is not judged.
  kKeyword,  // With its colon.
  kString,   // With its quotes and escapes, as it stands there.
  kSymbol,   // All else: nil, true, 1.5, \c.
  kMistake,  // `text` says what is wrong. Every later word is kMistake too.
};

struct Word {
  WordKind kind = WordKind::kEnd;
  absl::string_view text;  // Of the reader's text, or a mistake's words.

  bool Is(WordKind wanted_kind, absl::string_view wanted) const {
    return kind == wanted_kind && text == wanted;
  }
};

// Threads: one at a time. Copying it remembers a place.
class EdnReader {
 public:
  // `text` outlives the reader.
  explicit EdnReader(absl::string_view text) : text_(text) {}

  // The next word. Never fails: see kMistake.
  Word Next();

  // The next word, which stays the next one.
  Word Peek() const;

  // Passes over a whole form: a word, or what stands between an opening word and its closing one. False: there
  // is none before a closing word or the end, it does not end, or it is nested deeper than kDepthMax.
  bool SkipForm();

  // The line of the word that Next() gave last, from 1.
  size_t line() const { return line_; }

  static constexpr int kDepthMax = 64;

 private:
  void SkipSpaces();
  Word Mistake(absl::string_view what);
  Word TakeString();
  Word TakeAtom();
  char At(size_t place) const { return place < text_.size() ? text_[place] : '\0'; }

  absl::string_view text_;
  size_t place_ = 0;
  size_t line_ = 1;
  size_t drops_ = 0;  // How many `#_` are being served.
  absl::string_view mistake_;
};

}  // namespace acre::isolation

#endif  // ACRE_CLIENT_ISOLATION_EDN_H_
