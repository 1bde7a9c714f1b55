// What must stay, what the texts need, the files of that, and the proof: the new files are read as any others, and the
// two tokenizers compared.
#include "prune/vocabulary.h"

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/words.h"
#include "model/text/tokenizer_tables.h"
#include "prune/template_texts.h"
#include "prune/token_choice.h"
#include "prune/token_ids.h"
#include "prune/tokenizer_rewrite.h"

namespace kerf {
namespace {

using json = nlohmann::ordered_json;
using Ids = std::vector<int32_t>;

// Names that makers of models give to rows which they keep for later, each followed by a number.
constexpr std::array<std::string_view, 9> kFillers = {"unused",      "reserved",        "reserved_special_token",
                                                      "special",     "dummy",           "dummy_token",
                                                      "placeholder", "place▁holder▁no", "pad"};

// <unused7>, <|reserved_special_token_7|>, [PAD7], <｜place▁holder▁no▁7｜>.
bool is_filler(std::string_view token) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kBrackets = {
      {{"<|", "|>"}, {"<｜", "｜>"}, {"<", ">"}, {"[", "]"}}};
  for (const auto& [left, right] : kBrackets) {
    if (token.size() <= left.size() + right.size() || !token.starts_with(left) || !token.ends_with(right)) continue;
    std::string_view inner = token.substr(left.size(), token.size() - left.size() - right.size());
    const size_t last = inner.find_last_not_of("0123456789");
    if (last == inner.npos || last + 1 == inner.size()) return false;
    inner = inner.substr(0, last + 1);
    for (const std::string_view joint : {"_", "-", "▁"})
      if (inner.ends_with(joint)) inner.remove_suffix(joint.size());
    return std::find(kFillers.begin(), kFillers.end(), lower_case(inner)) != kFillers.end();
  }
  return false;
}

void collect_strings(const json& v, std::string& out) {
  if (v.is_string()) out.append(v.get_ref<const std::string&>()).append("\n");
  if (v.is_structured())
    for (const json& each : v) collect_strings(each, out);
}

json parsed(const TokenizerFiles& files, const char* file, const std::string& name) {
  const auto at = files.find(file);
  return at == files.end() ? json() : parse_ordered_json(at->second, name + "/" + file);
}

// Everything that the files say of tokens in words; lists of all added tokens say nothing.
std::string mentions(const TokenizerFiles& files, const std::string& name, const TokenizerSpec& spec) {
  std::string all = spec.chat_template + "\n";
  for (const char* file :
       {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "config.json"}) {
    json v = parsed(files, file, name);
    if (v.is_object()) v.erase("added_tokens_decoder");
    collect_strings(v, all);
  }
  return all;
}

class Trimming {
 public:
  Trimming(const TokenizerFiles& files, const std::string& name, const VocabularyRequest& request)
      : files_(files), name_(name), request_(request), before_(parse_tokenizer_files(files, name)) {
    const size_t n = spec().tokens.size();
    rows_ = request.rows > 0 ? request.rows : static_cast<int64_t>(n);
    keep_.assign(n, Keep::no);
    counts_.assign(n, 0);
    never_.assign(n, false);
  }

  TrimmedVocabulary run() {
    count_texts();
    keep_added();
    keep(alphabet_of(before_), Keep::alphabet);
    keep_named();
    choose();
    count_kept();
    check_numbering();
    out_.files = rewritten_files(files_, name_, spec(), out_.kept, out_.rows);
    const Tokenizer after(parse_tokenizer_files(out_.files, name_));
    compare_tokens(after.spec().tokens);
    compare_texts(after);
    return std::move(out_);
  }

 private:
  const TokenizerSpec& spec() const { return before_.spec(); }
  int64_t vocab() const { return static_cast<int64_t>(keep_.size()); }

  template <class List>
  void keep(const List& ids, Keep why) {
    for (const auto id : ids)
      if (id >= 0 && id < vocab() && keep_[static_cast<size_t>(id)] == Keep::no) keep_[static_cast<size_t>(id)] = why;
  }

  void count_texts() {
    int64_t used = 0;
    for (const std::string& text : request_.texts) {
      encoded_.push_back(before_.encode(text, false));
      for (const int32_t id : encoded_.back()) {
        ++counts_[static_cast<size_t>(id)];
        used += id != spec().model_unk;
      }
    }
    if (used == 0)
      fail(ErrorKind::bad_input,
           "{}: the texts that say which tokens to keep use none of them ({} characters); give text of the kind that "
           "the model will read",
           name_, characters());
  }

  int64_t characters() const {
    int64_t n = 0;
    for (const std::string& text : request_.texts)
      n += std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
    return n;
  }

  void keep_added() {
    const std::string said = mentions(files_, name_, spec());
    for (const AddedToken& a : spec().added) {
      const auto id = static_cast<size_t>(a.id);
      never_[id] = counts_[id] == 0 && is_filler(a.content) && said.find(a.content) == said.npos;
      if (!never_[id]) keep_[id] = Keep::added;
    }
  }

  void keep_named() {
    for (const auto& id : {spec().bos, spec().eos, spec().unk, spec().pad, spec().model_unk})
      if (id) keep(Ids{*id}, Keep::named);
    for (const Ids* ids : {&spec().ends, &spec().prefix, &spec().suffix}) keep(*ids, Keep::named);
    for (const char* file : {"config.json", "generation_config.json"})
      keep(named_ids(parsed(files_, file, name_)), Keep::named);
    keep(template_ids(files_.at("tokenizer.json"), name_ + "/tokenizer.json"), Keep::named);
    for (const std::string& text : template_texts(spec().chat_template)) keep(before_.encode(text, false), Keep::named);
  }

  void choose() {
    if (request_.most > 0) {
      keep_parts(before_, keep_);
      const auto end = keep_.begin() + std::min(rows_, vocab());
      const int64_t least = (end - keep_.begin()) - std::count(keep_.begin(), end, Keep::no);
      if (request_.most < least)
        fail(ErrorKind::usage,
             "{}: {} tokens are asked for, and {} must stay: special and other added ones, bytes, and what the files "
             "and the chat template name; ask for {} or more",
             name_, request_.most, least, least);
      keep_most_useful(before_, counts_, request_.most, rows_, never_, keep_);
    } else {
      for (size_t id = 0; id < keep_.size(); ++id)
        if (counts_[id] > 0 && keep_[id] == Keep::no) keep_[id] = Keep::used;
      keep_parts(before_, keep_);
    }
    for (size_t id = 0; id < keep_.size(); ++id)
      if (counts_[id] > 0 && keep_[id] == Keep::part) keep_[id] = Keep::used;
  }

  void count_kept() {
    KeptTokens& k = out_.because;
    int64_t* const counters[] = {nullptr, &k.added, &k.alphabet, &k.named, &k.used, &k.parts, &k.rest};
    for (size_t id = 0; id < keep_.size(); ++id) {
      out_.tokens += spec().types[id] != TokenType::unused;
      if (keep_[id] == Keep::no) {
        out_.fillers += never_[id];
        continue;
      }
      out_.kept.push_back(static_cast<int32_t>(id));
      out_.rows += static_cast<int64_t>(id) < rows_;
      ++*counters[static_cast<size_t>(keep_[id])];
    }
  }

  // The library gives an added token that is none of the model's the next free number behind those.
  void check_numbering() const {
    std::vector<bool> behind(keep_.size(), false);
    for (const AddedToken& a : spec().added) behind[static_cast<size_t>(a.id)] = !a.in_model;
    const auto is_behind = [&](int32_t id) { return behind[static_cast<size_t>(id)]; };
    if (!std::is_partitioned(out_.kept.begin(), out_.kept.end(), std::not_fn(is_behind))) {
      const int32_t added = *std::find_if(out_.kept.begin(), out_.kept.end(), is_behind);
      refuse_numbering(spec().tokens[static_cast<size_t>(added)]);
    }
  }

  void compare_tokens(const std::vector<std::string>& tokens) const {
    for (size_t i = 0; i < std::max(tokens.size(), out_.kept.size()); ++i) {
      const size_t old = i < out_.kept.size() ? static_cast<size_t>(out_.kept[i]) : keep_.size();
      if (old == keep_.size()) refuse_numbering(tokens[i]);
      if (spec().types[old] == TokenType::unused) continue;
      if (i >= tokens.size() || tokens[i] != spec().tokens[old]) refuse_numbering(spec().tokens[old]);
    }
  }

  [[noreturn]] void refuse_numbering(const std::string& token) const {
    fail(ErrorKind::unsupported,
         "{}: in the trimmed files the tokenizers library would not give \"{}\" the number of its row; a tokenizer can "
         "be trimmed whose added tokens are tokens of the model or stand behind all of those",
         name_, token);
  }

  void compare_texts(const Tokenizer& after) {
    out_.before.characters = out_.after.characters = characters();
    for (size_t i = 0; i < encoded_.size(); ++i) {
      const Ids ids = after.encode(request_.texts[i], false);
      out_.before.tokens += static_cast<int64_t>(encoded_[i].size());
      out_.after.tokens += static_cast<int64_t>(ids.size());
      const auto same = [&](int32_t now, int32_t old) { return out_.kept[static_cast<size_t>(now)] == old; };
      if (request_.most == 0 && !std::equal(ids.begin(), ids.end(), encoded_[i].begin(), encoded_[i].end(), same))
        fail(ErrorKind::unsupported,
             "{}: with the tokens and merges that the texts use they are spelled otherwise than before, so this "
             "tokenizer "
             "merges by a rule that trimming does not know",
             name_);
    }
  }

  const TokenizerFiles& files_;
  const std::string& name_;
  const VocabularyRequest& request_;
  const Tokenizer before_;
  int64_t rows_ = 0;
  std::vector<Keep> keep_;       // by id
  std::vector<int64_t> counts_;  // by id: in the texts
  std::vector<bool> never_;      // by id: fillers that nothing mentions
  std::vector<Ids> encoded_;     // the texts
  TrimmedVocabulary out_;
};

}  // namespace

TextLength length_of(const Tokenizer& t, std::string_view text) {
  return {.characters = std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }),
          .tokens = static_cast<int64_t>(t.encode(text, false).size())};
}

json to_json(const KeptTokens& k) {
  return {{"added", k.added}, {"alphabet", k.alphabet}, {"named", k.named},
          {"used", k.used},   {"parts", k.parts},       {"rest", k.rest}};
}

TrimmedVocabulary trim_vocabulary(const TokenizerFiles& files, const std::string& name,
                                  const VocabularyRequest& request) {
  return Trimming(files, name, request).run();
}

TokenizerSpec spec_of(const TrimmedVocabulary& t, const std::filesystem::path& folder) {
  TokenizerSpec spec = parse_tokenizer_files(t.files, folder);
  drop_tokens_past(spec, t.rows);
  return spec;
}

bool is_other_vocabulary(std::string_view file) {
  constexpr std::array<std::string_view, 9> kOthers = {
      "tokenizer.model", "tokenizer.model.v3", "spiece.model",  "sentencepiece.bpe.model", "vocab.txt",
      "tekken.json",     "tiktoken.model",     "qwen.tiktoken", "sentencepiece.model"};
  return std::find(kOthers.begin(), kOthers.end(), file) != kOthers.end();
}

}  // namespace kerf
