// Settings with which users run a runtime, as far as they change what it computes.
#pragma once

#include <optional>
#include <string>

namespace kerf {

/// What is left out is the runtime's default.
struct RuntimeSettings {
  std::optional<bool> flash_attention;  // --flash-attention
  std::string kv_cache;                 // --kv-cache, as the runtime calls the type
  bool operator==(const RuntimeSettings&) const = default;

  bool any() const { return flash_attention || !kv_cache.empty(); }
};

/// "flash attention on, key/value cache f16"
std::string to_text(const RuntimeSettings&);

}  // namespace kerf
