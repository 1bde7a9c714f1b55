// MODEL as people say it: folders, files, hub ids, what lies in caches.
#include "pipeline/runs/model_path.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "core/file.h"
#include "pipeline/runs/compress.h"
#include "pipeline/runs/hub_cache.h"
#include "tests/support/data.h"
#include "tests/support/refusal.h"

namespace kerf {
namespace {
namespace fs = std::filesystem;

constexpr const char* kCommit = "7e27bd9f95328f0f3b08261d1252705110c806f8";

// Environment variables as a test wants them, and no `hf` command.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::string>& wanted) {
    for (const char* name :
         {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME", "PATH", "KERF_TEST_FOLDER"}) {
      const char* old = std::getenv(name);
      before_[name] = old ? std::optional<std::string>(old) : std::nullopt;
      unsetenv(name);
    }
    for (const auto& [name, value] : wanted) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : before_)
      if (value)
        setenv(name.c_str(), value->c_str(), 1);
      else
        unsetenv(name.c_str());
  }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

// A repository in a cache: files of a snapshot are links to blobs, as huggingface_hub makes them.
class Cache {
 public:
  explicit Cache(fs::path folder) : folder_(std::move(folder)) {}

  fs::path add(const std::string& repository, const std::map<std::string, std::string>& files,
               const std::string& ref = "main", const std::string& commit = kCommit) const {
    const fs::path root = folder_ / repository, snapshot = root / "snapshots" / commit;
    fs::create_directories((root / "refs" / ref).parent_path());
    fs::create_directories(root / "blobs");
    write_text(root / "refs" / ref, commit);
    for (const auto& [name, text] : files) {
      const fs::path blob = root / "blobs" / std::to_string(std::hash<std::string>()(commit + name));
      write_text(blob, text);
      fs::create_directories((snapshot / name).parent_path());
      fs::create_symlink(blob, snapshot / name);
    }
    return snapshot;
  }

 private:
  fs::path folder_;
};

const std::map<std::string, std::string> kCheckpoint = {{"config.json", "{}"}, {"model.safetensors", ""}};

TEST(ModelPath, ASnapshotOfTheHubIsNamedAsItsRepository) {
  const test::TempDir dir;
  const fs::path snapshot = Cache(dir.path()).add("models--HuggingFaceTB--SmolLM2-135M", kCheckpoint);
  fs::create_directory_symlink(snapshot, dir / "link");
  for (const fs::path& path : {snapshot, snapshot / "", snapshot / "model.safetensors", snapshot / "." / "config.json",
                               dir / "models--HuggingFaceTB--SmolLM2-135M", dir / "link"}) {
    const ModelLocation l = locate_model(path.string());
    EXPECT_EQ(l.name, path.filename() == "config.json" ? "config.json" : "SmolLM2-135M") << path;
    EXPECT_EQ(l.org, "HuggingFaceTB") << path;
    EXPECT_EQ(l.repository, "HuggingFaceTB/SmolLM2-135M") << path;
    EXPECT_EQ(l.revision, kCommit) << path;
  }
  EXPECT_EQ(resolve_model((dir / "models--HuggingFaceTB--SmolLM2-135M").string()), snapshot);
  // Some repositories have no organisation.
  EXPECT_EQ(locate_model(Cache(dir.path()).add("models--gpt2", kCheckpoint).string()).repository, "gpt2");
}

TEST(ModelPath, AFileIsNamedByItselfAndModelByItsFolder) {
  const test::TempDir dir;
  fs::create_directories(dir / "mine.v2");
  for (const auto& [file, name] : std::map<std::string, std::string>{{"model.safetensors", "mine.v2"},
                                                                     {"model-00001-of-00003.safetensors", "mine.v2"},
                                                                     {"model.safetensors.index.json", "mine.v2"},
                                                                     {"tiny.1-Q4_0.gguf", "tiny.1-Q4_0"},
                                                                     {"a-00001-of-00002.gguf", "a"},
                                                                     {"sha256-0123", "sha256-0123"}}) {
    write_text(dir / "mine.v2" / file, "");
    const ModelLocation l = locate_model((dir / "mine.v2" / file).string());
    EXPECT_EQ(l.name, name);
    EXPECT_EQ(l.org + l.repository + l.revision, "");
  }
  EXPECT_EQ(locate_model((dir / "mine.v2").string()).name, "mine.v2");
  EXPECT_EQ(locate_model((dir / "mine.v2" / "").string()).name, "mine.v2");
}

TEST(ModelPath, TheCacheLiesWhereHuggingfaceHubHasIt) {
  const auto cache = [](const std::map<std::string, std::string>& variables) {
    const Environment e(variables);
    return hub_cache();
  };
  EXPECT_EQ(cache({{"HOME", "/h"}}), "/h/.cache/huggingface/hub");
  EXPECT_EQ(cache({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}), "/x/huggingface/hub");
  EXPECT_EQ(cache({{"HF_HOME", "/f"}, {"XDG_CACHE_HOME", "/x"}}), "/f/hub");
  EXPECT_EQ(cache({{"HUGGINGFACE_HUB_CACHE", "/o"}, {"HF_HOME", "/f"}}), "/o");
  EXPECT_EQ(cache({{"HF_HUB_CACHE", "/n"}, {"HUGGINGFACE_HUB_CACHE", "/o"}}), "/n");
  EXPECT_EQ(cache({{"HF_HOME", "~/f"}, {"HOME", "/h"}}), "/h/f/hub");
  EXPECT_EQ(cache({{"HF_HUB_CACHE", "$KERF_TEST_FOLDER/${KERF_TEST_FOLDER}b/$NONE"}, {"KERF_TEST_FOLDER", "/k"}}),
            "/k//kb/$NONE");
}

TEST(ModelPath, ARevisionMayBeABranchAReferenceOrTheBeginningOfACommit) {
  const test::TempDir dir;
  const Environment e({{"HF_HUB_CACHE", dir.path().string()}});
  const Cache cache(dir.path());
  const fs::path main = cache.add("models--org--m", kCheckpoint);
  const fs::path other = cache.add("models--org--m", kCheckpoint, "refs/pr/1", "aaaa" + std::string(36, '1'));
  const fs::path branch = cache.add("models--org--m", kCheckpoint, "fix/eos", "bbbb" + std::string(36, '1'));
  EXPECT_EQ(resolve_model("org/m"), main);
  EXPECT_EQ(resolve_model("org/m@main"), main);
  EXPECT_EQ(resolve_model("org/m@refs/pr/1"), other);
  EXPECT_EQ(resolve_model("org/m@fix/eos"), branch);
  EXPECT_EQ(resolve_model(std::string("org/m@") + kCommit), main);
  EXPECT_EQ(resolve_model("org/m@bbbb1111"), branch);
  EXPECT_EQ(locate_model("org/m@refs/pr/1").revision, other.filename());
  EXPECT_EQ(resolve_model("https://hub.example/org/m"), main);
  EXPECT_EQ(resolve_model("https://hub.example/org/m/tree/bbbb1111"), branch);
  EXPECT_EQ(resolve_model("hf://org/m"), main);
  for (const char* host : {"hf.co", "huggingface.co", "HF.co"}) {
    EXPECT_EQ(resolve_model(std::string(host) + "/org/m"), main) << host;
    EXPECT_EQ(resolve_model(std::string(host) + "/org/m/tree/bbbb1111"), branch) << host;
  }
  for (const char* none : {"org/m@refs/pr/2", "org/m@../x", "org/m@b/../c", "org/m@", "org/m@-x", "org/m@a;b"})
    test::refusal([&] { resolve_model(none); }, ErrorKind::io);
  EXPECT_TRUE(test::mentions(test::refusal([&] { resolve_model("org/m@refs/pr/2"); }, ErrorKind::io),
                             "hf download org/m --revision refs/pr/2"));
}

TEST(ModelPath, AnIdWithoutItsOrganisationNamesTheLikelyOne) {
  const test::TempDir dir;
  const Environment e({{"HF_HUB_CACHE", dir.path().string()}});
  Cache(dir.path()).add("models--some--Model-1B", kCheckpoint);
  const auto said = [](const char* model) { return test::refusal([&] { resolve_model(model); }, ErrorKind::io); };
  EXPECT_TRUE(test::mentions(said("model-1b"), "did you mean some/Model-1B?"));
  EXPECT_TRUE(test::mentions(said("Some/model-1b"), "did you mean some/Model-1B?"));
  EXPECT_TRUE(test::mentions(said("SmolLM2-135M-Instruct"), "did you mean HuggingFaceTB/SmolLM2-135M-Instruct?"));
  EXPECT_TRUE(test::mentions(said("unheard-of"), "org/name[@revision]")) << said("unheard-of");
  EXPECT_FALSE(test::mentions(said("unheard-of"), "did you mean"));
  Cache(dir.path()).add("models--gpt2", kCheckpoint);
  EXPECT_EQ(locate_model("gpt2").name, "gpt2");
}

TEST(ModelPath, OfARepositoryWithGgufFilesOnlyOneIsTaken) {
  const test::TempDir dir;
  const Environment e({{"HF_HUB_CACHE", dir.path().string()}});
  const Cache cache(dir.path());
  const fs::path one = cache.add("models--org--One-GGUF", {{"One-Q4_0.gguf", "GGUF"}, {"README.md", ""}});
  EXPECT_EQ(resolve_model("org/One-GGUF"), one / "One-Q4_0.gguf");
  EXPECT_EQ(locate_model("org/One-GGUF").name, "One-Q4_0");
  EXPECT_EQ(locate_model("org/One-GGUF").repository, "org/One-GGUF");
  EXPECT_EQ(resolve_model(one.string()), one / "One-Q4_0.gguf");

  const fs::path several = cache.add("models--org--M-GGUF", {{"config.json", "{}"},
                                                             {"M-Q4_K_M.gguf", "GGUF"},
                                                             {"M-Q4_0.gguf", "GGUF"},
                                                             {"M-IQ4_0.gguf", "GGUF"},
                                                             {"BF16/M-BF16-00001-of-00002.gguf", "GGUF"},
                                                             {"BF16/M-BF16-00002-of-00002.gguf", "GGUF"}});
  const std::string said = test::refusal([] { resolve_model("org/M-GGUF"); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(said, "4 models")) << said;
  EXPECT_TRUE(test::mentions(said, "BF16/M-BF16-00001-of-00002.gguf, M-IQ4_0.gguf")) << said;
  EXPECT_TRUE(test::mentions(said, "org/M-GGUF:M-BF16")) << said;
  EXPECT_EQ(resolve_model("org/M-GGUF:Q4_K_M"), several / "M-Q4_K_M.gguf");
  EXPECT_EQ(resolve_model("hf.co/org/M-GGUF:Q4_K_M"), several / "M-Q4_K_M.gguf");  // as Ollama and llama.cpp say it
  EXPECT_EQ(resolve_model("org/M-GGUF:q4_0"), several / "M-Q4_0.gguf");            // and not IQ4_0
  EXPECT_EQ(resolve_model("org/M-GGUF@main:M-IQ4_0.gguf"), several / "M-IQ4_0.gguf");
  EXPECT_EQ(resolve_model("org/M-GGUF:BF16"), several / "BF16" / "M-BF16-00001-of-00002.gguf");
  EXPECT_EQ(locate_model("org/M-GGUF:BF16").name, "M-BF16");
  EXPECT_TRUE(test::mentions(test::refusal([] { resolve_model("org/M-GGUF:Q8"); }, ErrorKind::io), "M-Q4_0.gguf"));
  EXPECT_TRUE(test::mentions(test::refusal([] { resolve_model("org/M-GGUF:Q4"); }, ErrorKind::usage), "3 models"));
  EXPECT_TRUE(test::mentions(test::refusal([] { resolve_model("org/N-GGUF:Q4_0"); }, ErrorKind::io),
                             "hf download org/N-GGUF --revision main --include '*Q4_0*'"));
  EXPECT_TRUE(test::mentions(test::refusal([] { resolve_model("org/N-GGUF"); }, ErrorKind::io),
                             "then say org/N-GGUF:Q4_K_M, or another of its files"));

  // Where there is a checkpoint beside them it is meant.
  const fs::path both =
      cache.add("models--org--both", {{"config.json", "{}"}, {"model.safetensors", ""}, {"both-Q4_0.gguf", "GGUF"}});
  EXPECT_EQ(resolve_model("org/both"), both);
  EXPECT_EQ(resolve_model("org/both:Q4_0"), both / "both-Q4_0.gguf");
}

// Ollama's models folder.
struct Ollama {
  void add(const std::string& place, const std::string& digest, const std::string& more = "") const {
    const fs::path manifest = root / "manifests" / place;
    fs::create_directories(manifest.parent_path());
    fs::create_directories(root / "blobs");
    write_text(manifest, R"({"schemaVersion": 2, "layers": [{"mediaType": "application/vnd.ollama.image.license",
      "digest": "sha256:99"}, {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:)" +
                             digest + "\"}" + more + "]}");
    write_text(blob(digest), "GGUF");
  }
  fs::path blob(const std::string& digest) const { return root / "blobs" / ("sha256-" + digest); }

  test::TempDir dir;
  fs::path root = dir.path() / "models";
};

TEST(ModelPath, OfOllamaAManifestItsFolderOrItsBlobIsTheModel) {
  const Ollama ollama;
  ollama.add("registry.example/library/smollm2/135m", "6f0a");
  for (const fs::path& path :
       {ollama.root, ollama.root / "manifests/registry.example/library/smollm2/135m", ollama.blob("6f0a")}) {
    const ModelLocation l = locate_model(path.string());
    EXPECT_EQ(l.path, ollama.blob("6f0a")) << path;
    EXPECT_EQ(l.name, "smollm2-135m") << path;
    EXPECT_EQ(l.org, "") << path;
  }
  ollama.add("registry.example/someone/tiny/latest", "0bb0");
  EXPECT_EQ(locate_model(ollama.blob("0bb0").string()).name, "tiny");
  EXPECT_EQ(locate_model(ollama.blob("0bb0").string()).org, "someone");
  const std::string said = test::refusal([&] { resolve_model(ollama.root.string()); }, ErrorKind::usage);
  EXPECT_TRUE(test::mentions(said, "smollm2:135m")) << said;
  EXPECT_TRUE(test::mentions(said, "someone/tiny/latest")) << said;
  fs::remove(ollama.blob("0bb0"));
  test::refusal([&] { resolve_model((ollama.root / "manifests/registry.example/someone/tiny/latest").string()); },
                ErrorKind::io);
  // An adapter is said once, however often a run looks.
  ollama.add("registry.example/library/tuned/latest", "0cc0",
             R"(, {"mediaType": "application/vnd.ollama.image.adapter", "digest": "sha256:77"})");
  const std::string tuned = (ollama.root / "manifests/registry.example/library/tuned/latest").string();
  testing::internal::CaptureStderr();
  for (int i = 0; i < 2; ++i) resolve_model(tuned);
  const std::string warned = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(test::mentions(warned, "merge it (llama-export-lora) and give the result")) << warned;
  EXPECT_EQ(warned.find("has an adapter"), warned.rfind("has an adapter")) << warned;
  // Not every file there is a manifest, and no digest leads elsewhere.
  ollama.add("registry.example/library/bad/latest", "no-digest");
  EXPECT_EQ(locate_model((ollama.root / "manifests/registry.example/library/bad/latest").string()).name, "latest");
}

}  // namespace
}  // namespace kerf
