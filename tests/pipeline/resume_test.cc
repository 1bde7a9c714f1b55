// What a killed run left behind, and what others may have made of it.
#include "pipeline/calibrate/resume.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "formats/container.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::chrono::seconds kAlways{0};
const ordered_json kRun = {{"model", "m"}, {"target", "t"}};

struct Saved {
  test::TempDir dir;
  fs::path folder = dir / "state";
  PlannedMatrix packed, plain;
  std::map<std::string, const PlannedMatrix*> planned = {{"a.weight", &packed}, {"b.weight", &plain}};
  FinishedBlock block;

  Saved() {
    packed.site = {.role = "attn_q", .layer = 0, .name = "a.weight", .out = 2, .in = 64};
    packed.storage = {.layout = &find_layout("gguf-q4_0"), .scheme = symmetric_int(4, 32, Dtype::f16)};
    plain.site = {.role = "attn_k", .layer = 0, .name = "b.weight", .out = 1, .in = 3};
    QuantizedMatrix q = allocate(packed.storage.scheme, 2, 64);
    for (size_t i = 0; i < q.codes.size(); ++i) q.codes[i] = static_cast<uint8_t>(i % 16);
    q.params[0].set(1, 1, 0.5f);
    block.matrices["a.weight"] = {&packed, q, {}};
    block.matrices["b.weight"] = {&plain, std::nullopt, {1, 2, 3}};
    block.replaced["norm"] = {4, 5};
    block.outcomes = {{.name = "a.weight", .method = "gptq", .error_rtn = 2, .error = 1}};
    ResumeState state(folder, kRun, false, kAlways);
    state.begin();
    state.save(0, block, std::vector<float>{1, 2, 3, 4}, std::vector<float>{5, 6, 7, 8}, 2);
  }
  fs::path block_file() const { return folder / "block-0" / "model.safetensors"; }
  fs::path hidden_file() const { return folder / "hidden" / "model.safetensors"; }

  // Writes a file of the state again with some of it changed.
  static void change(const fs::path& file, const std::function<void(FilePlan&, std::vector<std::string>&)>& edit) {
    FilePlan plan;
    std::vector<std::string> contents;
    {
      const auto reader = open_container(file);
      plan.metadata = reader->metadata();
      for (const StoredTensor& t : reader->tensors()) {
        plan.tensors.push_back({t.name, t.type, t.shape, t.bytes.size()});
        contents.emplace_back(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
      }
    }
    edit(plan, contents);
    const auto writer = find_container("safetensors").create(file.parent_path(), plan);
    for (size_t i = 0; i < contents.size(); ++i) writer->write(i, 0, as_bytes(contents[i]));
    writer->commit();
  }
  // What going on says.
  std::string error() const {
    try {
      const ResumeState state(folder, kRun, true, kAlways);
      (void)state.load_hidden();
      (void)state.load_block(0, planned);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_input) << e.what();
      return e.what();
    }
    return "";
  }
};

size_t index_of(const FilePlan& plan, std::string_view name) {
  for (size_t i = 0; i < plan.tensors.size(); ++i)
    if (plan.tensors[i].name == name) return i;
  ADD_FAILURE() << name;
  return 0;
}

void set_metadata(FilePlan& plan, const std::string& key, const std::string& value) {
  for (auto& [k, v] : plan.metadata)
    if (k == key) v = value;
}

TEST(ResumeState, GivesBackWhatWasSaved) {
  const Saved saved;
  const ResumeState state(saved.folder, kRun, true, kAlways);
  ASSERT_EQ(state.last(), 0);
  EXPECT_EQ(state.load_hidden(), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(state.load_full(), (std::vector<float>{5, 6, 7, 8}));
  const FinishedBlock b = state.load_block(0, saved.planned);
  EXPECT_EQ(*b.matrices.at("a.weight").packed, *saved.block.matrices.at("a.weight").packed);
  EXPECT_EQ(b.matrices.at("b.weight").values, (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(b.replaced, saved.block.replaced);
  ASSERT_EQ(b.outcomes.size(), 1u);
  EXPECT_EQ(b.outcomes[0].error_rtn, 2);
}

TEST(ResumeState, ALayerThatIsNoNumberIsRefused) {
  for (const char* layer : {"", "x", "1x", "-1", "99999999999999999999"}) {
    const Saved saved;
    Saved::change(saved.hidden_file(), [&](FilePlan& plan, auto&) { set_metadata(plan, "layer", layer); });
    EXPECT_NE(saved.error().find("no number of a layer"), std::string::npos) << layer;
  }
}

TEST(ResumeState, DamagedBlocksAreRefusedWithTheFolderToRemove) {
  using Edit = std::function<void(FilePlan&, std::vector<std::string>&)>;
  const std::pair<const char*, Edit> attacks[] = {
      {"codes of more than 4 bits", [](FilePlan& p, auto& c) { c[index_of(p, "a.weight:codes")][5] = 16; }},
      {"a.weight:codes of 128 bytes is missing",
       [](FilePlan& p, auto& c) {
         const size_t i = index_of(p, "a.weight:codes");
         c[i].pop_back();
         p.tensors[i].shape = {127};
         p.tensors[i].bytes = 127;
       }},
      {"a.weight:0 of 8 bytes is missing",
       [](FilePlan& p, auto&) { p.tensors[index_of(p, "a.weight:0")].name = "x:0"; }},
      {"b.weight:values is stored as I32",
       [](FilePlan& p, auto&) { p.tensors[index_of(p, "b.weight:values")].type = "I32"; }},
      {"norm is stored as BF16",
       [](FilePlan& p, auto&) {
         PlannedTensor& t = p.tensors[index_of(p, "norm")];
         t.type = "BF16";
         t.shape = {4};
       }},
      {"the outcomes cannot be read", [](FilePlan& p, auto&) { set_metadata(p, "outcomes", "[[1]]"); }},
      {"outcomes: not valid JSON", [](FilePlan& p, auto&) { set_metadata(p, "outcomes", "[[\"a\","); }},
      {"no matrix z.weight",
       [](FilePlan& p, auto&) { set_metadata(p, "outcomes", R"([["z.weight","gptq",1.0,1.0,0.0,0.0,0.0,0,0.0]])"); }},
  };
  for (const auto& [sentence, edit] : attacks) {
    const Saved saved;
    Saved::change(saved.block_file(), edit);
    const std::string error = saved.error();
    EXPECT_NE(error.find(sentence), std::string::npos) << error;
    EXPECT_NE(error.find("remove " + saved.folder.string()), std::string::npos) << error;
  }
}

TEST(ResumeState, EveryFlippedBitIsSeen) {
  const Saved saved;
  for (const fs::path& file : {saved.block_file(), saved.hidden_file()}) {
    const std::string whole = read_text(file);
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ 1 << at % 8);
      std::ofstream(file, std::ios::binary) << flipped;
      const std::string error = saved.error();
      EXPECT_TRUE(test::mentions(error, "remove " + saved.folder.string())) << file << " byte " << at << ": " << error;
    }
    std::ofstream(file, std::ios::binary) << whole;
    EXPECT_EQ(saved.error(), "");
  }
}

TEST(ResumeState, AnotherLayerThanWasSavedIsRefused) {
  const Saved saved;
  Saved::change(saved.hidden_file(), [](FilePlan& plan, auto&) { set_metadata(plan, "layer", "7"); });
  EXPECT_TRUE(test::mentions(saved.error(), "SHA-256"));
}

TEST(ResumeState, FilesCutOffAndMissingAreRefused) {
  for (const bool block : {false, true}) {
    const Saved cut;
    const fs::path file = block ? cut.block_file() : cut.hidden_file();
    fs::resize_file(file, fs::file_size(file) / 2);
    EXPECT_TRUE(test::mentions(cut.error(), "remove " + cut.folder.string())) << cut.error();
  }
  const Saved without_block;
  fs::remove(without_block.block_file());
  EXPECT_TRUE(test::mentions(without_block.error(), "remove " + without_block.folder.string()));
  const Saved missing;
  fs::remove(missing.hidden_file());
  EXPECT_FALSE(ResumeState(missing.folder, kRun, true, kAlways).last());
}

TEST(ResumeState, AnUnreadableDescriptionIsAnotherRun) {
  const std::string deep = "{\"model\": " + std::string(300'000, '[') + std::string(300'000, ']') + "}";
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{\"model\": 1}"), deep}) {
    const Saved saved;
    write_text(saved.folder / "run.json", text);
    SCOPED_TRACE(text.substr(0, 20));
    test::refusal([&] { ResumeState(saved.folder, kRun, true, kAlways); }, ErrorKind::usage);
    EXPECT_TRUE(fs::exists(saved.block_file()));
  }
}

TEST(ResumeState, ADiskThatIsFullIsToldOnceAndWhatWasSavedBeforeStays) {
  const Saved saved;
  ResumeState state(saved.folder, kRun, true, kAlways);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const std::vector<float> many(4096, 1.0f);  // the block fits, these do not
  const rlimit small{.rlim_cur = 8192, .rlim_max = before.rlim_max};
  testing::internal::CaptureStderr();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  state.save(1, saved.block, many, {}, 2);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(test::mentions(testing::internal::GetCapturedStderr(), "begin after block 0"));
  testing::internal::CaptureStderr();
  state.save(2, saved.block, many, {}, 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_FALSE(fs::exists(saved.folder / "block-2"));
  for (const auto& entry : fs::recursive_directory_iterator(saved.folder))
    EXPECT_NE(entry.path().extension(), ".partial");
  EXPECT_EQ(ResumeState(saved.folder, kRun, true, kAlways).last(), 0);
  EXPECT_EQ(saved.error(), "");
}

TEST(ResumeState, TakesTheDiskThatIsCountedBeforehand) {
  const Saved saved;
  TargetPlan plan;
  plan.matrices = {saved.packed, saved.plain};
  const auto data = [](const fs::path& file) {
    uint64_t bytes = 0;
    const auto reader = open_container(file);
    for (const StoredTensor& t : reader->tensors())
      if (t.name != "norm") bytes += t.bytes.size();
    return bytes;
  };
  const uint64_t block = data(saved.block_file());
  EXPECT_EQ(state_bytes(plan, 2, 2, true), block + 2 * data(saved.hidden_file()));
  EXPECT_EQ(state_bytes(plan, 2, 2, false), block + data(saved.hidden_file()));  // half of the states
}

TEST(ResumeState, TheTargetOfAnotherRunIsNamedAndStays) {
  const Saved saved;
  const fs::path all = saved.folder.parent_path();
  const std::string same[] = {"other", "state"}, others[] = {"other"};
  EXPECT_NO_THROW(refuse_other_targets(all, same));
  EXPECT_NO_THROW(refuse_other_targets(all / "nowhere", {}));
  const std::string other = test::refusal([&] { refuse_other_targets(all, others); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(other, "for state that was stopped, and this run is for other")) << other;
  const std::string none = test::refusal([&] { refuse_other_targets(all, {}); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(none, "this run is without --calib")) << none;
  EXPECT_TRUE(fs::exists(saved.block_file()));
}

}  // namespace
}  // namespace kerf
