#include "tests/checkers/zones.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace acre::checkers {
namespace {

// From the first end to the last begin. One that begins before it ends is held all the time between.
struct Zone {
  uint64_t first_to = ~uint64_t{0};
  uint64_t last_from = 0;
  int32_t value = kAnything;
  size_t writes = 0;
  bool has_optional = false;
};

std::vector<Zone> ForwardZones(absl::Span<const Step> steps) {
  int32_t values_max = kAbsent;
  for (const Step& step : steps) values_max = std::max({values_max, step.needs, step.writes});
  std::vector<Zone> zones(static_cast<size_t>(values_max) + 1);
  for (const Step& step : steps) {
    const int32_t value = step.writes != kNothing ? step.writes : step.needs;
    if (value <= kAbsent) continue;
    Zone& zone = zones[static_cast<size_t>(value)];
    zone.value = value;
    zone.first_to = std::min(zone.first_to, step.to);
    zone.last_from = std::max(zone.last_from, step.from);
    zone.writes += step.writes != kNothing ? 1 : 0;
    zone.has_optional |= step.optional;
  }
  std::erase_if(zones, [](const Zone& zone) {
    return zone.writes != 1 || zone.has_optional || zone.first_to >= zone.last_from;
  });
  std::sort(zones.begin(), zones.end(),
            [](const Zone& a, const Zone& b) { return a.first_to < b.first_to; });
  return zones;
}

bool DoZonesCollide(absl::Span<const Step> steps) {
  const std::vector<Zone> zones = ForwardZones(steps);
  for (size_t i = 1; i < zones.size(); ++i) {
    if (zones[i].first_to < zones[i - 1].last_from) return true;
  }
  for (const Step& step : steps) {
    if (step.optional) continue;
    // The last zone that begins before the step does; those before have ended when it begins.
    const auto after =
        std::lower_bound(zones.begin(), zones.end(), step.from,
                         [](const Zone& zone, uint64_t from) { return zone.first_to < from; });
    if (after == zones.begin() || step.to >= (after - 1)->last_from) continue;
    const int32_t value = (after - 1)->value;
    const bool writes_other = step.writes != kNothing && step.writes != value;
    const bool needs_other = step.needs >= kAbsent && step.needs != value;
    if (writes_other || needs_other) return true;
  }
  return false;
}

// Points in order of `at`, each with the largest `reach` of those up to it.
struct Point {
  uint64_t at;
  uint64_t reach;
};
void SortAndSpread(std::vector<Point>* points) {
  std::sort(points->begin(), points->end(),
            [](const Point& a, const Point& b) { return a.at < b.at; });
  for (size_t i = 1; i < points->size(); ++i) {
    (*points)[i].reach = std::max((*points)[i].reach, (*points)[i - 1].reach);
  }
}

bool IsAbsenceUnexplained(absl::Span<const Step> steps) {
  std::vector<Point> puts;     // {to, from}
  std::vector<Point> deletes;  // {from, to}
  for (const Step& step : steps) {
    if (step.writes == kAbsent) deletes.push_back({step.from, step.to});
    if (step.writes > kAbsent && !step.optional) puts.push_back({step.to, step.from});
  }
  SortAndSpread(&puts);
  SortAndSpread(&deletes);
  for (const Step& step : steps) {
    if (step.needs != kAbsent) continue;
    const auto put = std::lower_bound(puts.begin(), puts.end(), step.from,
                                      [](const Point& p, uint64_t from) { return p.at < from; });
    if (put == puts.begin()) continue;  // It may never have been there.
    const auto later = std::upper_bound(deletes.begin(), deletes.end(), step.to,
                                        [](uint64_t to, const Point& d) { return to < d.at; });
    // Of all Puts that came before the read, the one that began last. A Delete that came before that
    // one is not what the read saw.
    if (later == deletes.begin() || (later - 1)->reach < (put - 1)->reach) return true;
  }
  return false;
}

}  // namespace

bool AreImpossibleByZones(absl::Span<const Step> steps) {
  return DoZonesCollide(steps) || IsAbsenceUnexplained(steps);
}

}  // namespace acre::checkers
