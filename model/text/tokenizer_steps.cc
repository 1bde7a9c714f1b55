// normalizer, pre_tokenizer, post_processor and decoder of tokenizer.json. What would change ids and is not known here
// is refused by name.
#include "model/text/tokenizer_field.h"

namespace kerf {
namespace {

using json = nlohmann::json;

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581
constexpr int kDeepestSequence = 8;                      // a Sequence inside a Sequence ...; real files nest once

/// Calls body for the step, or for each step of the Sequence that it is; `list` is the key of a Sequence's steps.
template <class Body>
void each_step(const Field& step, const char* list, Body&& body, int depth = 0) {
  if (step.value.is_null()) return;
  if (step.type() != "Sequence") return body(step);
  if (depth == kDeepestSequence) fail(ErrorKind::unsupported, "{}: sequences nested too deeply", step.name);
  const Field steps = step.required(list);
  if (!steps.value.is_array()) steps.wrong("a list");
  size_t i = 0;
  for (const json& s : steps.value) each_step(Field{s, fmt::format("{}[{}]", steps.name, i++)}, list, body, depth + 1);
}

std::string literal_pattern(const Field& step) {
  const Field pattern = step.required("pattern");
  if (pattern.has("Regex")) {
    fail(ErrorKind::unsupported, "{}: a Regex to replace is not supported; kerf knows String", pattern.name);
  }
  return pattern.required("String").text();
}

void read_split(const Field& step, TokenizerSpec& spec) {
  const Field pattern = step.required("pattern");
  const std::string behavior = step.required("behavior").text();
  const bool invert = step.flag("invert", false);
  if (pattern.has("String") && behavior == "MergedWithPrevious" && !invert) {
    const std::string& literal = pattern.required("String").text();
    if (literal.empty()) fail(ErrorKind::bad_input, "{}: the String to split at is empty", pattern.name);
    spec.pre_tokenizer.push_back({.kind = PreTokenizerStep::Kind::literal, .regex = literal});
    return;
  }
  // Removing what lies between matches is the same as keeping it apart only where the pattern matches everything.
  const std::string regex = pattern.has("Regex") ? pattern.required("Regex").text() : "";
  const bool covers = regex == kGpt2Pattern || regex == kLlama3Pattern || regex == kQwen2Pattern;
  if (regex.empty() || !((behavior == "Isolated" && !invert) || (behavior == "Removed" && invert && covers))) {
    fail(ErrorKind::unsupported,
         "{}: Split with behavior {}, invert {} and {} is not supported; kerf knows Isolated with a Regex and "
         "MergedWithPrevious with a String",
         step.name, behavior, invert, regex.empty() ? "a String" : "this Regex");
  }
  spec.pre_tokenizer.push_back({.kind = PreTokenizerStep::Kind::pattern, .regex = regex});
}

void read_metaspace(const Field& step, TokenizerSpec& spec) {
  using P = PreTokenizerStep;
  if (step.required("replacement").text() != kMetaspace) {
    fail(ErrorKind::unsupported, "{}: replacement \"{}\" is not supported; kerf knows U+2581", step.name,
         step.required("replacement").text());
  }
  const std::string scheme = step.has("prepend_scheme")            ? step.required("prepend_scheme").text()
                             : step.flag("add_prefix_space", true) ? "always"
                                                                   : "never";
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fail(ErrorKind::bad_input, "{}: prepend_scheme \"{}\"; allowed are always, first, never", step.name, scheme);
  }
  const P::Prefix prefix = scheme == "always"  ? P::Prefix::always
                           : scheme == "first" ? P::Prefix::first
                                               : P::Prefix::never;
  spec.pre_tokenizer.push_back({.kind = P::Kind::metaspace, .prefix = prefix, .split = step.flag("split", true)});
  if (prefix != P::Prefix::never) spec.add_space_prefix = true;
}

void read_template(const Field& step, TokenizerSpec& spec) {
  const Field single = step.required("single");
  if (!single.value.is_array()) single.wrong("a list");
  bool after = false;
  size_t i = 0;
  for (const json& item : single.value) {
    const Field piece{item, fmt::format("{}[{}]", single.name, i++)};
    if (piece.has("Sequence")) {
      if (after || piece.required("Sequence").required("id").text() != "A") {
        fail(ErrorKind::unsupported, "{}: kerf knows templates with the one sequence \"A\"", piece.name);
      }
      after = true;
      continue;
    }
    const std::string name = piece.required("SpecialToken").required("id").text();
    const Field ids = step.required("special_tokens").required(name.c_str()).required("ids");
    if (!ids.value.is_array()) ids.wrong("a list");
    for (const json& id : ids.value) {
      (after ? spec.suffix : spec.prefix).push_back(token_id({id, ids.name}, spec.tokens.size()));
    }
  }
  if (!after) fail(ErrorKind::unsupported, "{}: the template leaves the text out", single.name);
}

}  // namespace

void read_normalizer(const Field& field, TokenizerSpec& spec) {
  using N = NormalizerStep;
  each_step(field, "normalizers", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "NFC") {
      spec.normalizer.push_back({.kind = N::Kind::nfc});
    } else if (type == "Prepend") {
      spec.normalizer.push_back({.kind = N::Kind::prepend, .content = step.required("prepend").text()});
      if (spec.normalizer.back().content == kMetaspace) spec.add_space_prefix = true;
    } else if (type == "Replace") {
      spec.normalizer.push_back(
          {.kind = N::Kind::replace, .pattern = literal_pattern(step), .content = step.required("content").text()});
    } else {
      step.unknown("NFC, Prepend, Replace and Sequence as normalizers");
    }
  });
}

void read_pre_tokenizer(const Field& field, TokenizerSpec& spec) {
  using P = PreTokenizerStep;
  each_step(field, "pretokenizers", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "ByteLevel") {
      spec.pre_tokenizer.push_back({.kind = P::Kind::byte_level,
                                    .add_prefix_space = step.flag("add_prefix_space", true),
                                    .use_regex = step.flag("use_regex", true)});
    } else if (type == "Digits") {
      spec.pre_tokenizer.push_back(
          {.kind = P::Kind::digits, .individual_digits = step.flag("individual_digits", false)});
    } else if (type == "Split") {
      read_split(step, spec);
    } else if (type == "Metaspace") {
      read_metaspace(step, spec);
    } else {
      step.unknown("ByteLevel, Digits, Split, Metaspace and Sequence as pre-tokenizers");
    }
  });
}

void read_decoder(const Field& field, TokenizerSpec& spec) {
  using D = DecoderStep;
  each_step(field, "decoders", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "ByteLevel") {
      spec.decoder.push_back({.kind = D::Kind::byte_level});
    } else if (type == "Replace") {
      spec.decoder.push_back(
          {.kind = D::Kind::replace, .pattern = literal_pattern(step), .content = step.required("content").text()});
    } else if (type == "ByteFallback") {
      spec.decoder.push_back({.kind = D::Kind::byte_fallback});
    } else if (type == "Fuse") {
      spec.decoder.push_back({.kind = D::Kind::fuse});
    } else if (type == "Strip") {
      D strip = {.kind = D::Kind::strip,
                 .content = step.required("content").text(),
                 .start = step.required("start").integer(),
                 .stop = step.required("stop").integer()};
      if (strip.content.empty() || strip.start < 0 || strip.stop < 0) {
        fail(ErrorKind::bad_input, "{}: Strip needs a character and counts that are not negative", step.name);
      }
      spec.decoder.push_back(std::move(strip));
    } else if (type == "Metaspace") {
      const bool never = step.has("prepend_scheme") ? step.required("prepend_scheme").text() == "never"
                                                    : !step.flag("add_prefix_space", true);
      spec.decoder.push_back({.kind = D::Kind::metaspace, .prefix = !never});
    } else {
      step.unknown("ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and Sequence as decoders");
    }
  });
}

void read_post_processor(const Field& field, TokenizerSpec& spec) {
  each_step(field, "processors", [&](const Field& step) {
    const std::string type = step.type();
    if (type == "TemplateProcessing") {
      read_template(step, spec);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      const auto second = [&](const char* key) {
        const Field pair = step.required(key);
        if (!pair.value.is_array() || pair.value.size() != 2) pair.wrong("a list of a token and its id");
        return token_id({pair.value[1], pair.name}, spec.tokens.size());
      };
      spec.prefix.push_back(second("cls"));
      spec.suffix.push_back(second("sep"));
    } else if (type != "ByteLevel") {  // which only moves offsets
      step.unknown("TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel and Sequence as post-processors");
    }
  });
}

}  // namespace kerf
