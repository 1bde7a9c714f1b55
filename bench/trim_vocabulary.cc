// Trims the tokenizer of a folder to texts (prune/vocabulary.h), writes the new files, and prints one line of JSON:
// what stayed and why, tokens per character of the texts and of others, processor seconds and peak memory.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "model/text/text_file.h"
#include "prune/vocabulary.h"

namespace {
namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

struct Options {
  fs::path folder, out;
  std::vector<fs::path> texts, others;
  int64_t most = 0, bytes = 0;
};

std::string head(const fs::path& path, int64_t bytes) {
  std::string text = kerf::read_text_file(path);
  if (bytes > 0 && text.size() > static_cast<size_t>(bytes)) text.resize(text.rfind('\n', static_cast<size_t>(bytes)));
  return text;
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

void run(const Options& o) {
  kerf::TokenizerFiles files = kerf::read_tokenizer_files(o.folder);
  for (const char* name : {"vocab.json", "merges.txt"})
    if (fs::exists(o.folder / name)) files.emplace(name, kerf::read_text(o.folder / name));
  kerf::VocabularyRequest request{.most = o.most};
  for (const fs::path& path : o.texts) request.texts.push_back(head(path, o.bytes));

  const std::clock_t start = std::clock();
  const kerf::TrimmedVocabulary t = kerf::trim_vocabulary(files, o.folder.string(), request);
  const double took = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  const double peak = peak_mib();

  fs::create_directories(o.out);
  for (const auto& [name, text] : t.files) kerf::write_text(o.out / name, text);
  kerf::write_text(o.out / "kept.json", json(t.kept).dump() + "\n");
  json others = json::object();
  const kerf::Tokenizer before(kerf::parse_tokenizer_files(files, o.folder)),
      after(kerf::parse_tokenizer_files(t.files, o.out));
  for (const fs::path& path : o.others) {
    const std::string text = kerf::read_text_file(path);
    const std::vector<int32_t> ids = after.encode(text, false);
    others[path.filename().string()] = {
        {"before", kerf::length_of(before, text).tokens_per_character()},
        {"after", kerf::length_of(after, text).tokens_per_character()},
        {"decodes", after.decode(ids, false) == before.decode(before.encode(text, false), false)}};
  }
  const json line = {{"tokens", t.tokens},
                     {"kept", t.kept.size()},
                     {"because", kerf::to_json(t.because)},
                     {"fillers", t.fillers},
                     {"characters", t.before.characters},
                     {"tokens per character",
                      {{"before", t.before.tokens_per_character()}, {"after", t.after.tokens_per_character()}}},
                     {"others", others},
                     {"processor seconds", took},
                     {"peak MiB", peak}};
  fmt::print("{}\n", line.dump());
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app("Trims the tokenizer of a folder to the tokens that texts need.");
  app.add_option("folder", o.folder)->required();
  app.add_option("--text", o.texts, "Texts whose tokens are kept")->required();
  app.add_option("--bytes", o.bytes, "Of each text, about so many bytes; 0: all");
  app.add_option("--most", o.most, "Tokens that are left; 0: all that the texts use");
  app.add_option("--other", o.others, "Texts that are measured alone");
  app.add_option("-o,--out", o.out)->required();
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const kerf::Error& e) {
    fmt::print(stderr, "trim_vocabulary: {}\n", e.what());
    return e.exit_code();
  }
}
