// What a run leaves in its output folder: all of it, or what was there before.
#include "pipeline/repository/publication.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/eval_run.h"
#include "pipeline/runs/imatrix_run.h"
#include "pipeline/runs/inspect.h"
#include "pipeline/runs/model_path.h"
#include "pipeline/runs/repack.h"
#include "pipeline/runs/tokenizer_path.h"
#include "pipeline/runs/verify_run.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;
using Files = std::map<std::string, std::string>;

Files files_below(const fs::path& folder) {
  Files files;
  if (fs::exists(folder))
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (!entry.is_directory()) files[entry.path().lexically_relative(folder)] = read_text(entry.path());
  return files;
}

uint64_t inode_of(const fs::path& folder) {
  struct stat s {};
  return ::stat(folder.c_str(), &s) == 0 ? s.st_ino : 0;
}

CompressOptions job(const fs::path& out, std::vector<std::string> targets, bool measured = false) {
  CompressOptions o;
  o.model = test::example_dir();
  o.targets = std::move(targets);
  o.out = out;
  o.force = true;
  if (measured) o.eval = {.text = test::example_dir() / "heldout.txt", .ctx = 32, .windows = 1};
  return o;
}

Repacked repacked(const fs::path& from, const std::string& target, const fs::path& to, bool force = false) {
  RepackOptions o;
  o.packed = from;
  o.target = target;
  o.out = to;
  o.force = force;
  return repack(o);
}

template <class F>
std::string refusal(F&& f, ErrorKind kind) {
  return test::refusal(f, kind);
}

nlohmann::json report_in(const fs::path& out) { return nlohmann::json::parse(read_text(out / "kerf-report.json")); }

void copy_model(const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(test::example_dir()))
    fs::copy(entry.path(), to / entry.path().filename());
}

// B1 of the review: the new weights lay under the old card.
TEST(Publication, AVerificationThatFailsLeavesTheFolderAsItWas) {
  const test::TempDir dir;
  const fs::path bad = dir / "bad";
  copy_model(bad);
  // Gate and up so large that their product overflows: they pack, and the verification finds no number.
  std::string bytes = read_text(bad / "model.safetensors");
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  for (const auto& [name, tensor] : header.items()) {
    if (name.find("gate_proj") == std::string::npos && name.find("up_proj") == std::string::npos) continue;
    const uint64_t begin = tensor["data_offsets"][0], end = tensor["data_offsets"][1];
    for (uint64_t at = 8 + length + begin; at < 8 + length + end; at += 2) {
      uint16_t bf16;
      std::memcpy(&bf16, bytes.data() + at, 2);
      if (bf16 & 0x7f80) bf16 = static_cast<uint16_t>(bf16 + (80 << 7));  // times 2^80
      std::memcpy(bytes.data() + at, &bf16, 2);
    }
  }
  write_text(bad / "model.safetensors", bytes);
  for (const std::string target : {"vllm:w4a16-g32", "llama.cpp-cpu:Q8_0"}) {
    const fs::path out = dir / target;
    compress(job(out, {target}, true));
    write_text(out / "other", "x");
    const Files before = files_below(out);
    CompressOptions o = job(out, {target}, true);
    o.model = bad;
    refusal([&] { compress(o); }, ErrorKind::numerical);
    EXPECT_EQ(files_below(out), before) << target;
    o.out = dir / ("new " + target);
    refusal([&] { compress(o); }, ErrorKind::numerical);
    EXPECT_FALSE(fs::exists(o.out));
  }
}

// B2: repack replaced and deleted its own source.
TEST(Publication, NoCommandWritesOverWhatItReads) {
  const test::TempDir dir;
  const fs::path gptq = dir / "gptq", gguf = dir / "gguf";
  compress(job(gptq, {"transformers-gptq:w4-g32"}));
  compress(job(gguf, {"llama.cpp-cpu:Q8_0"}));
  fs::create_directory_symlink(gptq, dir / "link to gptq");
  fs::create_directory_symlink(gguf, dir / "link to gguf");
  const Files before = files_below(dir.path());
  const fs::path file = gguf / "tinytales-Q8_0.gguf", text = test::example_dir() / "heldout.txt";
  for (const fs::path& from : {gptq, dir / "link to gptq"})
    for (const fs::path& to : {gptq, dir / "link to gptq", dir / "gguf" / ".." / "gptq"})
      EXPECT_TRUE(test::mentions(refusal([&] { repacked(from, "awq:w4-g32-sym", to, true); }, ErrorKind::usage),
                                 "holds the model that is read"));
  RepackOptions split;
  split.packed = file;
  split.target = "llama.cpp-cpu";
  split.force = true;
  split.shard_bytes = 1'000'000;
  for (const fs::path& to : {gguf, dir / "link to gguf"}) {
    split.out = to;
    refusal([&] { repack(split); }, ErrorKind::usage);
  }
  for (const fs::path& to :
       {file, gptq / "config.json", gptq / "model.safetensors", dir / "link to gptq" / "tokenizer.json"}) {
    const fs::path model = to.extension() == ".gguf" ? gguf : gptq;
    const std::string said =
        refusal([&] { eval_run({.model = model, .eval = {.text = text, .ctx = 16, .windows = 1}, .logits = to}); },
                ErrorKind::usage);
    EXPECT_TRUE(test::mentions(said, "it would be replaced")) << said;
    refusal([&] { write_tensor_npy(model, "x", to); }, ErrorKind::usage);
    refusal([&] { imatrix_run({.model = model, .calib = {.text = text, .windows = 1, .ctx = 16}, .out = to}); },
            ErrorKind::usage);
  }
  EXPECT_EQ(files_below(dir.path()), before);
}

TEST(Publication, ASourceInTheHubsCacheOrLinkedIntoTheOutputIsSafe) {
  const test::TempDir dir;
  const fs::path blobs = dir / "models--a--b" / "blobs", snapshot = dir / "models--a--b" / "snapshots" / "c";
  copy_model(blobs);
  fs::create_directories(snapshot);
  for (const auto& entry : fs::directory_iterator(blobs))
    fs::create_symlink(fs::path("../../blobs") / entry.path().filename(), snapshot / entry.path().filename());
  const Files before = files_below(dir.path());
  for (const fs::path& out : {blobs, snapshot}) {
    CompressOptions o = job(out, {"vllm:w4a16-g32"});
    o.model = snapshot;
    EXPECT_TRUE(test::mentions(refusal([&] { compress(o); }, ErrorKind::usage), "holds the model that is read"));
  }
  EXPECT_EQ(files_below(dir.path()), before);
  // The output holds a second name of the source's weights, as a link or a hard link.
  for (const bool hard : {false, true}) {
    const fs::path out = dir / (hard ? "hard" : "soft");
    fs::create_directories(out);
    if (hard)
      fs::create_hard_link(blobs / "model.safetensors", out / "model.safetensors");
    else
      fs::create_symlink(blobs / "model.safetensors", out / "model.safetensors");
    CompressOptions o = job(out, {"vllm:w4a16-g32"});
    o.model = snapshot;
    EXPECT_TRUE(test::mentions(refusal([&] { compress(o); }, ErrorKind::usage), "would be replaced or removed"));
  }
  // A text that is read lies where the card would.
  fs::create_directories(dir / "texts");
  fs::copy_file(test::example_dir() / "heldout.txt", dir / "texts" / "README.md");
  CompressOptions o = job(dir / "texts", {"vllm:w4a16-g32"}, true);
  o.eval.text = dir / "texts" / "README.md";
  EXPECT_TRUE(test::mentions(refusal([&] { compress(o); }, ErrorKind::usage), "would be replaced or removed"));
}

TEST(Publication, APartialFileThatIsALinkIsNotWrittenThrough) {
  const test::TempDir dir;
  write_text(dir / "precious", "x");
  fs::create_symlink(dir / "precious", partial_name(dir / "new"));
  write_text(dir / "new", "y");
  EXPECT_EQ(read_text(dir / "precious"), "x");
  EXPECT_EQ(read_text(dir / "new"), "y");
}

// B4: GPTQ's quantize_config.json stayed in what became another format's repository.
TEST(Publication, ReplacesAllThatAnEarlierRunHasLeftAndNothingElse) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  const std::vector<std::vector<std::string>> runs = {{"transformers-gptq:w4-g32"},
                                                      {"vllm:w4a16-g32"},
                                                      {"llama.cpp-cpu:Q8_0"},
                                                      {"transformers-gptq:w4-g32", "llama.cpp-cpu:Q8_0"},
                                                      {"awq:w4-g32"}};
  std::vector<Files> alone;
  for (size_t i = 0; i < runs.size(); ++i) {
    compress(job(dir / std::to_string(i), runs[i]));
    alone.push_back(files_below(dir / std::to_string(i)));
  }
  const Files others = {{"notes/mine", "x"}, {"model-best.safetensors", "x"}, {"quantize_config.json.bak", "x"}};
  fs::create_directories(out / "notes");
  for (const auto& [name, text] : others) write_text(out / name, text);
  ::chmod(out.c_str(), 0750);
  ::chmod((out / "notes").c_str(), 0700);
  const auto when = fs::last_write_time(out / "notes");
  for (const size_t i : {0, 1, 2, 3, 4, 0}) {
    compress(job(out, runs[i]));
    Files wanted = alone[i];
    wanted.insert(others.begin(), others.end());
    EXPECT_EQ(files_below(out), wanted) << i;
    EXPECT_EQ(fs::exists(out / "transformers-gptq-w4-g32"), i == 3);
  }
  EXPECT_EQ(fs::status(out).permissions(), fs::perms(0750));
  EXPECT_EQ(fs::status(out / "notes").permissions(), fs::perms(0700));
  EXPECT_EQ(fs::last_write_time(out / "notes"), when);
}

// --force replaces files of the same name and what kerf can show to be its own; what a runtime would load besides is
// somebody's, and refused.
TEST(Publication, ForceNeitherRemovesForeignFilesNorPublishesBesideThem) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  fs::create_directories(out);
  for (const char* name :
       {"model-00001-of-00002.safetensors", "model.safetensors.index.json", "quantize_config.json"}) {
    write_text(out / name, "precious");
    const std::string sentence = refusal([&] { compress(job(out, {"vllm:w4a16-g32"}, true)); }, ErrorKind::usage);
    EXPECT_TRUE(test::mentions(sentence, name));
    EXPECT_TRUE(test::mentions(sentence, "move them away"));
    EXPECT_EQ(files_below(out), (Files{{name, "precious"}}));
    fs::remove(out / name);
  }
  // Of the same name, as --force says; and what no runtime would load besides.
  write_text(out / "model.safetensors", "precious");
  write_text(out / "other.gguf", "precious");
  compress(job(out, {"vllm:w4a16-g32"}, true));
  EXPECT_EQ(read_text(out / "other.gguf"), "precious");

  // Changed since: another kind of repository leaves it, one that would load it refuses.
  write_text(out / "model.safetensors", "mine");
  compress(job(out, {"llama.cpp-cpu:Q8_0"}, true));
  EXPECT_EQ(read_text(out / "model.safetensors"), "mine");
  EXPECT_FALSE(fs::exists(out / "config.json"));  // as it was written
  compress(job(out, {"transformers-gptq:w4-g32"}, true));
  write_text(out / "quantize_config.json", "mine");
  EXPECT_TRUE(test::mentions(refusal([&] { compress(job(out, {"vllm:w4a16-g32"}, true)); }, ErrorKind::usage),
                             "quantize_config.json"));
  // A report without sums vouches for nothing.
  fs::remove(out / "quantize_config.json");
  fs::create_directories(out / "sub");
  write_text(out / "sub" / "precious", "x");
  nlohmann::json report = report_in(out);
  report["targets"][0]["files"][0]["name"] = "sub/precious";
  write_text(out / "kerf-report.json", report.dump());
  compress(job(out, {"vllm:w4a16-g32"}, true));
  EXPECT_EQ(read_text(out / "sub" / "precious"), "x");
}

TEST(Publication, AReportCannotNameFilesOutside) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  fs::create_directories(out);
  fs::create_directories(dir / "elsewhere");
  fs::create_directory_symlink(dir / "elsewhere", out / "link");
  write_text(dir / "precious", "x");
  write_text(dir / "elsewhere" / "precious", "x");
  nlohmann::json files = nlohmann::json::array();
  const std::string absolute = dir / "precious";
  for (const char* name : {"../precious", absolute.c_str(), "link/precious", "", ".", "..", "link"})
    files.push_back({{"name", name}});
  write_text(out / "kerf-report.json", nlohmann::json{{"targets", {{{"files", files}}}}}.dump());
  compress(job(out, {"vllm:w4a16-g32"}));
  EXPECT_TRUE(fs::exists(dir / "precious"));
  EXPECT_TRUE(fs::exists(dir / "elsewhere" / "precious"));
  // Nested without end, it is no report.
  write_text(out / "kerf-report.json", "{\"targets\":" + std::string(300'000, '['));
  EXPECT_NO_THROW(compress(job(out, {"vllm:w4a16-g32"})));
}

TEST(Publication, AMissedGatePublishesOnlyWhenAsked) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"vllm:w4a16-g32"}, true);
  o.gate = "kl<0.0000001";
  EXPECT_FALSE(compress(o).passed());
  // Nothing but the staging folder, in which all is.
  const fs::path staged = o.out / kStagingFolder;
  for (const auto& entry : fs::directory_iterator(o.out)) EXPECT_EQ(entry.path(), staged);
  EXPECT_FALSE(report_in(staged)["passed"].get<bool>());
  EXPECT_EQ(verify_run({.packed = staged, .against = o.model, .eval = o.eval}).targets.size(), 1u);
  EXPECT_TRUE(test::mentions(
      refusal([&] { verify_run({.packed = o.out, .against = o.model, .eval = o.eval}); }, ErrorKind::bad_input),
      "holds no model"));
  const Files kept = files_below(staged);
  o.force = false;  // a staging folder alone counts as nothing
  o.publish_anyway = true;
  EXPECT_FALSE(compress(o).passed());
  EXPECT_EQ(files_below(o.out), kept);
  EXPECT_FALSE(fs::exists(staged));
  // Over an old repository.
  o.force = true;
  o.publish_anyway = false;
  o.targets = {"llama.cpp-cpu:Q4_0"};
  EXPECT_FALSE(compress(o).passed());
  fs::remove_all(staged);
  EXPECT_EQ(files_below(o.out), kept);
}

TEST(Publication, AMissedGateKeepsWhatResumeNeeds) {
  const test::TempDir dir;
  CompressOptions o = job(dir / "out", {"vllm:w4a16-g32"}, true);
  o.calib = {.text = test::example_dir() / "heldout.txt", .windows = 8, .ctx = 64};
  o.method = "gptq";
  o.gate = "kl<0.0000001";
  o.save_every = 0;
  o.force = false;
  EXPECT_FALSE(compress(o).passed());
  const Files kept = files_below(o.out / kStagingFolder);
  o.resume = o.publish_anyway = true;
  EXPECT_FALSE(compress(o).passed());
  EXPECT_EQ(files_below(o.out), kept);
}

TEST(Publication, RepackWritesACardAndAReportOfItsOwn) {
  const test::TempDir dir;
  const fs::path source = dir / "source", out = dir / "out";
  compress(job(source, {"transformers-gptq:w4-g32"}, true));
  compress(job(out, {"llama.cpp-cpu:Q8_0"}, true));
  repacked(source, "awq:w4-g32-sym", out, true);
  const auto report = report_in(out);
  EXPECT_EQ(report["repacked_from"], "gptq");
  EXPECT_EQ(report["targets"][0]["target"], "awq");
  std::set<std::string> listed = {"README.md", "kerf-report.json"};
  for (const auto& f : report["targets"][0]["files"]) listed.insert(f["name"]);
  std::set<std::string> there;
  for (const auto& [name, text] : files_below(out)) there.insert(name);
  EXPECT_EQ(there, listed);
  const std::string card = read_text(out / "README.md");
  EXPECT_TRUE(test::mentions(card, "Repacked from source (gptq)")) << card;
  EXPECT_TRUE(test::mentions(card, "The accuracy was not measured")) << card;
}

// Where folders cannot be exchanged.
TEST(Publication, WhatWasStoppedBetweenItsRenamesIsFinishedByTheNextCommand) {
  for (const size_t done : {0, 1, 3, 100}) {
    const test::TempDir dir;
    const fs::path old = dir / "out", wanted = dir / "wanted";
    compress(job(old, {"transformers-gptq:w4-g32"}));
    compress(job(wanted, {"vllm:w4a16-g32"}));
    write_text(old / "other", "x");
    const Files files = files_below(wanted);
    // As a run leaves it that is stopped after `done` renames.
    fs::create_directories(old / kStagingFolder);
    nlohmann::json journal = {
        {"inode", inode_of(old)}, {"move", nlohmann::json::array()}, {"remove", {"quantize_config.json"}}};
    size_t moved = 0;
    for (const auto& [name, text] : files) {
      journal["move"].push_back(name);
      write_text((moved++ < done ? old : old / kStagingFolder) / name, text);
    }
    write_text(old / ".kerf-publish.json", journal.dump());
    EXPECT_EQ(resolve_model(old / "config.json"), old / "config.json");
    Files now = files_below(old);
    EXPECT_EQ(now.erase("other"), 1u);
    EXPECT_EQ(now, files) << done;
    for (const std::string damaged :
         {"{", R"({"move": ["../x"], "remove": []})", R"({"move": [], "remove": ["/etc/x"]})", "[]"}) {
      write_text(old / ".kerf-publish.json", damaged);
      const std::string said = refusal([&] { resolve_model(old); }, ErrorKind::bad_input);
      EXPECT_TRUE(test::mentions(said, ".kerf-publish.json")) << said;
    }
  }
}

// Such as one in an archive that somebody else has packed.
TEST(Publication, AJournalOfAnotherFolderIsLeftWithAWarning) {
  const test::TempDir dir;
  const fs::path model = dir / "above" / "model";
  compress(job(model, {"llama.cpp-cpu:Q4_0"}));
  const Files before = files_below(model);
  for (const fs::path& folder : {model, model.parent_path()}) {
    write_text(folder / "thesis", "x");
    for (const uint64_t inode : {uint64_t{0}, inode_of(dir.path())}) {
      const nlohmann::json journal = {
          {"inode", inode}, {"move", nlohmann::json::array()}, {"remove", {"thesis", "README.md"}}};
      write_text(folder / ".kerf-publish.json", journal.dump());
      testing::internal::CaptureStderr();
      EXPECT_EQ(resolve_model(model), model);
      EXPECT_TRUE(test::mentions(testing::internal::GetCapturedStderr(), "in another folder than the one"));
      EXPECT_TRUE(fs::exists(folder / "thesis"));
    }
    fs::remove(folder / ".kerf-publish.json");
    fs::remove(folder / "thesis");
    EXPECT_EQ(files_below(model), before);
  }
}

TEST(Publication, ForceKeepsHiddenFilesThatAreNotOfARun) {
  const test::TempDir dir;
  compress(job(dir / "out", {"llama.cpp-cpu:Q4_0"}));
  write_text(dir / "out" / ".kerf-notes", "x");
  write_text(dir / "out" / ".kerf-config.json.partial", "left by a run that was killed");
  compress(job(dir / "out", {"llama.cpp-cpu:Q8_0"}));
  EXPECT_EQ(read_text(dir / "out" / ".kerf-notes"), "x");
  EXPECT_FALSE(fs::exists(dir / "out" / ".kerf-config.json.partial"));
}

TEST(Publication, AFolderOrLinkInTheWayIsNamedBeforeAnythingIsDone) {
  const test::TempDir dir;
  const fs::path out = dir / "out";
  fs::create_directories(out / "README.md");
  EXPECT_TRUE(
      test::mentions(refusal([&] { compress(job(out, {"vllm:w4a16-g32"})); }, ErrorKind::usage), "is a folder"));
  fs::remove(out / "README.md");
  fs::create_directories(dir / "elsewhere");
  fs::create_directory_symlink(dir / "elsewhere", out / "vllm-w4a16-g32");
  EXPECT_TRUE(test::mentions(refusal(
                                 [&] {
                                   compress(job(out, {"vllm:w4a16-g32", "llama.cpp-cpu:Q4_0"}));
                                 },
                                 ErrorKind::usage),
                             "is a link"));
  fs::remove(out / "vllm-w4a16-g32");
  fs::create_directories(out / "config.json" / "mine");
  EXPECT_TRUE(
      test::mentions(refusal([&] { compress(job(out, {"vllm:w4a16-g32"})); }, ErrorKind::usage), "is a folder"));
  EXPECT_TRUE(fs::exists(out / "config.json" / "mine"));
  EXPECT_FALSE(fs::exists(out / kStagingFolder));
}

// B8: any of several files was taken.
TEST(OpenTokenizer, RefusesAFolderWithSeveralGgufModels) {
  const test::TempDir dir;
  compress(job(dir / "a", {"llama.cpp-cpu:Q4_0"}));
  const fs::path out = dir / "a";
  EXPECT_NO_THROW(open_tokenizer(out));
  fs::copy_file(out / "tinytales-Q4_0.gguf", out / "another.gguf");
  const std::string said = refusal([&] { open_tokenizer(out); }, ErrorKind::bad_input);
  EXPECT_TRUE(test::mentions(said, "another.gguf, tinytales-Q4_0.gguf")) << said;
}

}  // namespace
}  // namespace kerf
