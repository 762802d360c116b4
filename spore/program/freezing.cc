#include "spore/program/freezing.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/snapshot/writer.h"

namespace spore::program {

Result<host::Instance> instantiate(const cell::Blueprint& blueprint, const engine::Limits& limits,
                                   host::Wasi::Entropy entropy) {
  std::unique_ptr<host::Wasi> wasi;
  if (blueprint.wasi != nullptr) {
    wasi = std::make_unique<host::Wasi>(blueprint.wasi);
    wasi->set_entropy(entropy);
  }
  return cell::instantiate(blueprint, limits, nullptr, std::move(wasi));
}

Status check_holdable(const cell::Blueprint& blueprint) {
  if (blueprint.prepared == nullptr) {
    return Status::unsupported("a module that is loaded without being prepared cannot be frozen");
  }
  if (blueprint.reset_mode() == wasm::ResetMode::kInPlace) return {};
  std::string why;
  for (const std::string& reason : blueprint.prepared->reset_reasons)
    why += fmt::format("{}{}", why.empty() ? "" : ", ", reason);
  return Status::unsupported(
      "not all of its state can be held from outside, so it cannot be frozen: it {}{}", why,
      why.find("shared memory") == std::string::npos ? "" : " (build it without threads)");
}

Status check_hook(const wasm::ModuleFacts& facts, std::string_view name) {
  const auto found = std::ranges::find(facts.exports, name, &wasm::ModuleFacts::Export::name);
  if (found == facts.exports.end() || wasm::exports_function(facts, name)) return {};
  return Status::invalid_argument("its export '{}' is {}, and should be a function of nothing: func()", name,
                                  printable(found->type));
}

std::string last_words(std::string_view text) {
  constexpr size_t kBytesMax = 300;
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const size_t line = text.rfind('\n');
  if (line != std::string_view::npos) text.remove_prefix(line + 1);
  return text.empty() ? std::string() : fmt::format("; its last words: {}", printable(text, kBytesMax));
}

Status with_words(Status status, std::string_view error) {
  std::string words = last_words(error);
  if (words.empty()) return status;
  std::string detail(status.detail());
  if (!detail.empty() && detail.back() != '\n') detail += '\n';
  return std::move(status).with_detail(detail + "standard error" + words);
}

Status check_files(std::span<const host::Wasi::Lost> lost) {
  if (lost.empty()) return {};
  const host::Wasi::Lost& first = lost.front();
  return Status::unavailable("it had '{}' open when it was frozen, and {}: freeze it again",
                             printable(first.path), first.reason);
}

Result<Digest> save_image(const cell::Image& image, const Source& source, snapshot::Origin origin,
                          const std::filesystem::path& path, const snapshot::WriteOptions& options) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  origin.created_s = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
  origin.original = source.original;
  origin.rewriter = source.rewriter;
  origin.rewriter_arguments = source.rewriter_arguments;
  const snapshot::Contents contents = SPORE_TRY(snapshot::contents_of(image, source.wasm, std::move(origin)));
  return snapshot::write(contents, path, options);
}

}  // namespace spore::program
