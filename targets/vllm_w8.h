// The 8-bit schemes of vLLM whose activations are rounded to 8 bits too, token by token as they come: part of
// target_vllm.cc.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "targets/target.h"

namespace kerf {

/// "w8a8", "fp8", "fp8-tensor", "fp8-block".
std::span<const SchemeHelp> vllm_w8_schemes();
/// The name of one of them in whatever case, with "_" for "-" too; nullopt for other schemes.
std::optional<std::string> canonical_vllm_w8(std::string_view scheme);
bool is_vllm_w8(std::string_view scheme);
std::span<const std::string_view> vllm_w8_rules();

/// How a matrix of a block is stored. Error unsupported, with the rule and the choices, when vLLM could not load it.
Storage vllm_w8_storage(std::string_view scheme, const SiteShape&, Dtype model);

}  // namespace kerf
