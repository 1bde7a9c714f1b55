// Types per matrix against llama-quantize's own (goldens/mixtures/make.py).
#include "targets/gguf_mixture.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "core/error.h"
#include "tests/support/data.h"

namespace kerf {
namespace {

struct Shape {
  std::string name;
  ModelShape model;
  int64_t hidden = 0, ffn = 0;
};

// What follows "shape" in a golden.
Shape read_shape(std::istream& line) {
  Shape s;
  line >> s.name;
  std::map<std::string, int64_t> keys;
  for (std::string word; line >> word;) {
    const size_t equals = word.find('=');
    keys[word.substr(0, equals)] = std::stoll(word.substr(equals + 1));
  }
  s.model = {.layers = keys.at("layers"),
             .heads = keys.at("heads"),
             .kv_heads = keys.at("kv_heads"),
             .tied = keys.at("tied") != 0};
  s.hidden = keys.at("hidden");
  s.ffn = keys.at("ffn");
  return s;
}

// "Q6_K*2,Q4_K*3", or one type for all.
std::vector<std::string> read_types(const std::string& text, int64_t layers) {
  std::vector<std::string> types;
  std::istringstream runs(text);
  for (std::string run; std::getline(runs, run, ',');) {
    const size_t star = run.find('*');
    const int64_t count = star == std::string::npos ? layers : std::stoll(run.substr(star + 1));
    types.insert(types.end(), static_cast<size_t>(count), run.substr(0, star));
  }
  return types;
}

std::string type_of(const std::string& mixture, const SiteShape& site) {
  return std::string(fitting_gguf_type(wanted_gguf_type(mixture, site), site.in));
}

// Compares one line; returns how many matrices it names.
size_t check_line(const Shape& shape, const std::string& mixture, bool importance, std::istream& line) {
  size_t matrices = 0;
  for (std::string word; line >> word;) {
    if (word == "refused") {
      EXPECT_EQ(type_of(mixture, {.gguf = "blk.0.attn_q.weight", .in = shape.hidden, .layer = 0, .model = shape.model}),
                "");
      return 1;
    }
    const size_t equals = word.find('=');
    const std::string tensor = word.substr(0, equals);
    const SitePlace place = tensor == "token_embd" ? SitePlace::embedding
                            : tensor == "output"   ? SitePlace::head
                                                   : SitePlace::block;
    SiteShape site{.gguf = (place == SitePlace::block ? "blk.0." : "") + tensor + ".weight",
                   .place = place,
                   .in = tensor == "ffn_down" ? shape.ffn : shape.hidden,
                   .model = shape.model,
                   .importance = importance};
    const bool block = place == SitePlace::block;
    for (const std::string& wanted : read_types(word.substr(equals + 1), block ? shape.model.layers : 1)) {
      if (block) ++site.layer;
      EXPECT_EQ(type_of(mixture, site), wanted)
          << shape.name << " " << mixture << (importance ? " with importance " : " ") << tensor << " of layer "
          << site.layer;
      ++matrices;
    }
  }
  return matrices;
}

TEST(GgufMixtures, GiveEveryMatrixTheTypeThatLlamaQuantizeGivesIt) {
  std::ifstream golden(test::source_dir() / "tests/targets/goldens/mixtures/types.txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(golden, line);) lines.push_back(line);
  lines.push_back("");
  Shape shape;
  size_t matrices = 0;
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    const auto check = [&](bool importance) {
      std::istringstream line(lines[i]);
      std::string mixture, kind;
      line >> mixture >> kind;
      return check_line(shape, mixture, importance, line);
    };
    std::istringstream line(lines[i]);
    std::string mixture, kind;
    line >> mixture;
    if (mixture == "shape") {
      shape = read_shape(line);
      continue;
    }
    line >> kind;
    matrices += check(kind == "imatrix");
    // A line that importance does not change has no second one.
    if (kind == "plain" && !lines[i + 1].starts_with(mixture + " imatrix")) matrices += check(true);
  }
  EXPECT_GT(matrices, 60'000u);
}

TEST(GgufMixtures, HaveTypesThatExistAndNamesAndFileTypesOfTheirOwn) {
  std::map<std::string_view, int> names;
  std::map<uint32_t, int> ids;
  for (const GgufMixture& m : gguf_mixtures()) {
    EXPECT_EQ(canonical_gguf_scheme(m.name), m.name);
    EXPECT_EQ(gguf_file_type(m.name), m.file_type);
    EXPECT_EQ(gguf_mixture_of_file_type(m.file_type), &m);
    EXPECT_EQ(fitting_gguf_type(m.base, 256), m.base);
    EXPECT_EQ(++names[m.name], 1) << m.name;
    EXPECT_EQ(++ids[m.file_type], 1) << m.name;
  }
}

TEST(GgufSchemes, AreMixturesForAModelAndTypesForOneMatrix) {
  EXPECT_EQ(canonical_gguf_scheme("q4_k"), "Q4_K_M");
  EXPECT_EQ(canonical_gguf_scheme("Q4_k-Pure"), "Q4_K-pure");
  EXPECT_EQ(canonical_gguf_scheme_of_matrix("q4_k"), "Q4_K-pure");
  EXPECT_EQ(canonical_gguf_scheme_of_matrix("q4_k_m"), "Q4_K_M");
  for (const char* bad : {"", "-pure", "Q4_K_M-pure", "Q9", "Q4_2-pure"}) EXPECT_EQ(canonical_gguf_scheme(bad), "");
  EXPECT_EQ(gguf_file_type("IQ2_S-pure"), gguf_file_type("IQ2_M"));
  const SiteShape head{.gguf = "output.weight", .place = SitePlace::head, .in = 256};
  EXPECT_EQ(wanted_gguf_type("Q4_K_M", head), "Q6_K");
  EXPECT_EQ(wanted_gguf_type("Q4_K-pure", head), "Q4_K");
}

}  // namespace
}  // namespace kerf
