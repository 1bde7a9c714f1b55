// How llama.cpp stores keys and values between the tokens of a text (--cache-type-k and -v, both alike).
// (No includes: files compiled for one instruction set read this.)
#pragma once

namespace kerf {

enum class KvCache { f16, f32, q8_0, q4_0 };

constexpr bool is_quantized(KvCache c) { return c == KvCache::q8_0 || c == KvCache::q4_0; }

}  // namespace kerf
