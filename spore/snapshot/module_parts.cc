// A prepared module as pieces of its source, and back.
//
// The preparer copies most of a module byte by byte, in its order, and adds and leaves out (python.wasm: all
// but one part in a thousand).  So it is enough to find, going forward in both, where the source goes on
// after what was added.
#include <algorithm>
#include <cstring>
#include <string_view>

#include "spore/base/assert.h"
#include "spore/snapshot/format.h"

namespace spore::snapshot {
namespace {

// What is shorter stays a literal; an entry for a piece has 16 bytes.
constexpr size_t kWindow = 64;
// Of the windows that have the same bytes, so many are looked at.
constexpr size_t kCandidatesMax = 8;
// Going over a part of the source must be worth it, as there is no way back to it: bytes left out for each
// byte found.
constexpr size_t kSkipFactor = 16;

size_t common_prefix(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  constexpr size_t kStep = 4096;
  const size_t most = std::min(a.size(), b.size());
  size_t same = 0;
  while (same + kStep <= most && std::memcmp(a.data() + same, b.data() + same, kStep) == 0) same += kStep;
  while (same < most && a[same] == b[same]) same++;
  return same;
}

// Where the source has which bytes: its windows at multiples of kWindow.
class Windows {
 public:
  explicit Windows(std::span<const uint8_t> source) : source_(source) {
    windows_.reserve(source.size() / kWindow);
    for (size_t at = 0; at + kWindow <= source.size(); at += kWindow) {
      windows_.push_back({.key = key_of(source.subspan(at, kWindow)), .at = at});
    }
    std::ranges::sort(windows_);
  }

  struct Match {
    size_t at = 0;
    size_t bytes = 0;  // 0: there is none
  };
  // The longest of the next ones, not before `from`, that `bytes` begins with.
  Match find(std::span<const uint8_t> bytes, size_t from) const {
    Match best;
    if (bytes.size() < kWindow) return best;
    const Window first{.key = key_of(bytes.first(kWindow)), .at = from};
    auto window = std::ranges::lower_bound(windows_, first);
    for (size_t i = 0; i < kCandidatesMax && window != windows_.end() && window->key == first.key; i++) {
      const size_t same = common_prefix(bytes, source_.subspan(window->at));
      const bool worth = same >= kWindow && same >= (window->at - from) / kSkipFactor;
      if (worth && same > best.bytes) best = {.at = window->at, .bytes = same};
      ++window;
    }
    return best;
  }

 private:
  struct Window {
    size_t key;
    size_t at;
    auto operator<=>(const Window&) const = default;
  };
  static size_t key_of(std::span<const uint8_t> bytes) {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  std::span<const uint8_t> source_;
  std::vector<Window> windows_;
};

}  // namespace

ModuleParts split_module(std::span<const uint8_t> prepared, std::span<const uint8_t> source) {
  const Windows windows(source);
  ModuleParts parts;
  parts.prepared_bytes = prepared.size();
  size_t literal = 0;  // where the bytes begin that are in no piece yet
  size_t cursor = 0;   // where the last piece of the source ended
  const auto end_literal = [&](size_t end) {
    if (end == literal) return;
    parts.pieces.push_back({.from = Piece::kLiteral, .bytes = end - literal});
    const auto bytes = prepared.subspan(literal, end - literal);
    parts.literals.insert(parts.literals.end(), bytes.begin(), bytes.end());
  };
  for (size_t at = 0; at < prepared.size();) {
    Windows::Match match{.at = cursor, .bytes = common_prefix(prepared.subspan(at), source.subspan(cursor))};
    if (match.bytes < kWindow) match = windows.find(prepared.subspan(at), cursor);
    if (match.bytes < kWindow) {
      at++;
      continue;
    }
    // What is in no piece yet may be the source's, too.
    while (at > literal && match.at > cursor && prepared[at - 1] == source[match.at - 1]) {
      at--;
      match.at--;
      match.bytes++;
    }
    end_literal(at);
    parts.pieces.push_back({.from = match.at, .bytes = match.bytes});
    at += match.bytes;
    cursor = match.at + match.bytes;
    literal = at;
  }
  end_literal(prepared.size());
  return parts;
}

std::vector<uint8_t> join_module(const ModuleParts& parts, std::span<const uint8_t> source) {
  std::vector<uint8_t> prepared;
  prepared.reserve(parts.prepared_bytes);
  std::span<const uint8_t> literals = parts.literals;
  for (const Piece& piece : parts.pieces) {
    const bool literal = piece.from == Piece::kLiteral;
    SPORE_ASSERT(literal ? piece.bytes <= literals.size()
                         : piece.from <= source.size() && piece.bytes <= source.size() - piece.from,
                 "pieces of another source");
    const auto bytes = literal ? literals.first(piece.bytes) : source.subspan(piece.from, piece.bytes);
    prepared.insert(prepared.end(), bytes.begin(), bytes.end());
    if (literal) literals = literals.subspan(piece.bytes);
  }
  return prepared;
}

}  // namespace spore::snapshot
