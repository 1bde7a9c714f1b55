#include "pipeline/runs/vocabulary_texts.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "model/chat/records.h"
#include "model/text/text_file.h"
#include "pipeline/report/source_identity.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

// A plain text as it is; of records their documents.
std::string content_of(const fs::path& file, const Artifact& a) {
  std::string text = read_text_file(file);
  if (!holds_records(text, file)) return text;
  Records records(text, file.string(), a.tokenizer(), a.path.string());
  std::string all;
  for (size_t i = 0; i < records.size(); ++i) all += records.document(i).text + "\n";
  return all;
}

ordered_json length_json(const TextLength& before, const TextLength& after) {
  return {
      {"characters", before.characters},
      {"tokens_per_character", {{"before", before.tokens_per_character()}, {"after", after.tokens_per_character()}}}};
}

}  // namespace

TrimmedVocabulary trimmed_vocabulary(const Artifact& a, const PruneRequest& r, const CalibrationOptions& calib) {
  VocabularyRequest request{.most = r.vocabulary, .rows = a.architecture.vocab()};
  for (const std::string& file : r.vocabulary_texts) request.texts.push_back(content_of(file, a));
  if (request.texts.empty() && !calib.text.empty()) request.texts.push_back(content_of(calib.text, a));
  if (request.texts.empty())
    fail(ErrorKind::usage,
         "--prune vocab={}: which tokens are the most useful a text says; give vocab=FILE too, or --calib FILE",
         r.vocabulary);
  const fs::path folder = folder_of_model(a.path);
  TokenizerFiles files = read_tokenizer_files(folder);
  for (const char* name : {"vocab.json", "merges.txt"})
    if (fs::exists(folder / name)) files.emplace(name, read_text(folder / name));
  TrimmedVocabulary trimmed = trim_vocabulary(files, folder.string(), request);
  if (trimmed.because.used == 0 && request.most == 0)
    fail(
        ErrorKind::bad_input,
        "{}: the texts that say which tokens to keep ({} characters) use none but those {} that stay anyway; give text "
        "of the kind that the model will read",
        folder.string(), trimmed.before.characters, trimmed.rows);
  if (trimmed.rows >= request.rows)
    fail(ErrorKind::usage,
         "--prune vocab=: all {} rows of the embedding would stay; give fewer texts, or vocab=N below that",
         request.rows);
  return trimmed;
}

ordered_json to_json(const TrimmedVocabulary& t, const Artifact& original, const fs::path& held_out) {
  ordered_json j = {{"tokens", {{"before", original.architecture.vocab()}, {"after", t.rows}}},
                    {"kept", to_json(t.because)},
                    {"fillers_removed", t.fillers},
                    {"texts", length_json(t.before, t.after)}};
  if (held_out.empty()) return j;
  const std::string text = content_of(held_out, original);
  const Tokenizer before(original.tokenizer()), after(spec_of(t, original.path));
  j["evaluation"] = length_json(length_of(before, text), length_of(after, text));
  return j;
}

}  // namespace kerf
