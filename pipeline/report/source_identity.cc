#include "pipeline/report/source_identity.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/sha256.h"
#include "core/utf8.h"
#include "core/words.h"
#include "model/text/text_file.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kLongestCard = uint64_t{4} << 20, kLongestLicence = uint64_t{1} << 20;  // bytes; others are not read
constexpr size_t kLongestFrontMatter = 64 << 10;

std::optional<std::string> text_of(const fs::path& file, uint64_t longest) {
  std::error_code none;
  if (!fs::is_regular_file(file, none) || fs::file_size(file, none) > longest) return std::nullopt;
  return read_text(file);
}

// What stands between the first two lines "---".
std::string front_matter(std::string card) {
  if (card.starts_with("\xef\xbb\xbf")) card.erase(0, 3);
  const size_t first = card.find('\n');
  if (!card.starts_with("---") || first == std::string::npos) return "";
  const size_t end = card.find("\n---", first - 1);
  if (end == std::string::npos || end > kLongestFrontMatter) return "";
  return end < first ? "" : card.substr(first + 1, end - first);
}

// One text, or a list of them.
std::vector<std::string> texts_of(const YAML::Node& n) {
  std::vector<std::string> texts;
  if (n.IsDefined() && n.IsScalar() && !n.Scalar().empty()) texts.push_back(n.Scalar());
  if (n.IsDefined() && n.IsSequence())
    for (const YAML::Node& each : n)
      if (each.IsScalar()) texts.push_back(each.Scalar());
  return texts;
}

std::string text_of(const YAML::Node& n) {
  const auto texts = texts_of(n);
  return texts.empty() ? "" : texts.front();
}

void read_card(const fs::path& file, bool quantized, SourceIdentity& id) {
  const auto card = text_of(file, kLongestCard);
  if (!card) return;
  try {
    const YAML::Node front = YAML::Load(front_matter(*card));
    if (!front.IsMap()) return;
    const std::vector<std::string> licenses = texts_of(front["license"]);
    id.license = licenses.size() > 1 ? "other" : text_of(front["license"]);
    if (!id.license.empty()) id.license_said_by = "its model card";
    id.license_name =
        licenses.size() > 1 ? fmt::format("{}", fmt::join(licenses, " and ")) : text_of(front["license_name"]);
    id.license_link = text_of(front["license_link"]);
    id.languages = texts_of(front["language"]);
    if (quantized) id.base_models = texts_of(front["base_model"]);
  } catch (const YAML::Exception& e) {
    warn(fmt::format("the front matter of {} is no YAML ({}): licence and language are not taken from it",
                     file.string(), e.msg));
  }
}

// `hf download --local-dir` notes the commit in the first line of a file per file.
void read_download(const fs::path& folder, SourceIdentity& id) {
  const auto text = text_of(folder / ".cache" / "huggingface" / "download" / "config.json.metadata", 4096);
  if (!text) return;
  const std::string commit = text->substr(0, text->find('\n'));
  const bool hexadecimal = std::all_of(commit.begin(), commit.end(), [](unsigned char c) { return std::isxdigit(c); });
  if (commit.size() == 40 && hexadecimal) id.revision = commit;
}

void read_gguf_keys(const Reader& reader, SourceIdentity& id) {
  const auto text = [&](const char* key) {
    const MetaValue* value = reader.find_metadata(key);
    const auto* s = value ? std::get_if<std::string>(value) : nullptr;
    return s ? *s : std::string();
  };
  if (id.license.empty() && !text("general.license").empty()) {
    id.license = text("general.license");
    id.license_name = text("general.license.name");
    id.license_link = text("general.license.link");
    id.license_said_by = "its GGUF metadata";
  }
  const MetaValue* languages = reader.find_metadata("general.languages");
  const auto* array = languages ? std::get_if<MetaArray>(languages) : nullptr;
  const auto* values = array ? std::get_if<std::vector<std::string>>(&array->values) : nullptr;
  if (values && id.languages.empty()) id.languages = *values;
}

void read_licence_file(const fs::path& folder, SourceIdentity& id) {
  for (const fs::path& file : licence_files(folder)) {
    const auto text = text_of(file, kLongestLicence);
    if (!text) continue;
    id.license = licence_with_words(*text);
    if (id.license.empty()) continue;
    id.license_said_by = "its file " + file.filename().string();
    return;
  }
  for (const fs::path& file : licence_files(folder)) {
    const std::string name = file.filename().string();
    if (!lower_case(name).starts_with('l')) continue;  // a notice is no licence
    id.license = "other";
    id.license_link = name;
    id.license_said_by = "its file " + name;
    return;
  }
}

}  // namespace

InputFile describe_input(const std::string& key, const fs::path& file) {
  if (!is_standard_input(file)) return {key, file.filename().string(), fs::file_size(file), sha256_of(file)};
  const std::string text = read_text_file(file);
  return {key, text_name(file), text.size(), sha256_of_text(text)};
}

fs::path folder_of_model(const fs::path& model) {
  if (fs::is_directory(model)) return model;
  return model.has_parent_path() ? model.parent_path() : fs::path(".");
}

std::vector<fs::path> licence_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = lower_case(entry.path().filename().string());
    constexpr std::string_view kStems[] = {"license", "licence", "copying", "notice", "use_policy"};
    const bool named = std::any_of(std::begin(kStems), std::end(kStems), [&](std::string_view stem) {
      constexpr std::string_view kAfter = ".-_";
      return name.starts_with(stem) &&
             (name.size() == stem.size() || kAfter.find(name[stem.size()]) != std::string_view::npos);
    });
    const std::string extension = fs::path(name).extension().string();
    const bool text = extension.empty() || extension == ".txt" || extension == ".md";
    if (named && text && entry.is_regular_file(none)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string licence_with_words(std::string_view text) {
  std::string words;  // in lower case, one space between them
  for (const char c : text.substr(0, 4096)) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isspace(u) || u == '*' || u == '#')
      words += words.empty() || words.back() == ' ' ? "" : " ";
    else
      words += static_cast<char>(std::tolower(u));
  }
  const auto says = [&](std::string_view part) { return words.find(part) != std::string::npos; };
  if (says("apache license") && says("version 2.0")) return "apache-2.0";
  if (says("llama 3.3 community license")) return "llama3.3";
  if (says("llama 3.2 community license")) return "llama3.2";
  if (says("llama 3.1 community license")) return "llama3.1";
  if (says("llama 3 community license")) return "llama3";
  if (says("llama 2 community license")) return "llama2";
  if (says("gemma terms of use")) return "gemma";
  if (says("permission is hereby granted, free of charge") && says("the above copyright notice and this permission"))
    return "mit";
  if (says("redistribution and use in source and binary forms"))
    return says("neither the name") ? "bsd-3-clause" : "bsd-2-clause";
  return "";
}

SourceIdentity identify(const Artifact& source, const std::string& name, const std::string& hub_id,
                        const std::string& revision) {
  SourceIdentity id{.name = name, .hub_id = hub_id, .revision = revision};
  const fs::path folder = folder_of_model(source.path);
  if (id.revision.empty()) read_download(folder, id);
  read_card(folder / "README.md", !source.target.empty(), id);
  read_gguf_keys(source.weights->reader(), id);
  if (id.license.empty()) read_licence_file(folder, id);
  for (const fs::path& file : licence_files(folder)) {  // they are copied at the end
    if (first_invalid_utf8(file.filename().string()))
      fail(ErrorKind::bad_input, "the name of {} is no UTF-8, and it is copied beside the weights; rename it",
           file.string());
    read_text(file);
  }
  return id;
}

}  // namespace kerf
