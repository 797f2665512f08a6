// Which sanitizer this is built with: for the few places where speed hides from it what it looks
// for.

#ifndef ACRE_RUNTIME_SANITIZERS_H_
#define ACRE_RUNTIME_SANITIZERS_H_

namespace acre {

// g++ defines macros, clang answers __has_feature.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kUnderAsan = true;
#elif defined(__has_feature)
constexpr bool kUnderAsan = __has_feature(address_sanitizer);
#else
constexpr bool kUnderAsan = false;
#endif

#if defined(__SANITIZE_THREAD__)
constexpr bool kUnderTsan = true;
#elif defined(__has_feature)
constexpr bool kUnderTsan = __has_feature(thread_sanitizer);
#else
constexpr bool kUnderTsan = false;
#endif

}  // namespace acre

#endif  // ACRE_RUNTIME_SANITIZERS_H_
