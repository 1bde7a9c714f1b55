#include "pipeline/repository/publication.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"

namespace kerf {
namespace fs = std::filesystem;
namespace {

// Files and folders that are not kerf's, linked into the new folder; with more, renames come cheaper.
constexpr size_t kMostCarried = 10'000;

// All files below a folder, relative to it, in the order of their names; report and cards, which speak of the others,
// last.
std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (!entry.is_directory()) files.push_back(entry.path().lexically_relative(folder));
  const auto rank = [](const fs::path& f) {
    return f == kReportFile ? 3 : f.filename() == kReportFile ? 2 : f.filename() == kCardFile ? 1 : 0;
  };
  std::sort(files.begin(), files.end(),
            [&](const fs::path& a, const fs::path& b) { return std::pair(rank(a), a) < std::pair(rank(b), b); });
  return files;
}

bool is_plain_folder(const fs::path& p) { return fs::is_directory(fs::symlink_status(p)); }
bool is_there(const fs::path& p) { return fs::exists(fs::symlink_status(p)); }

bool lies_in(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

// Attributes that a new folder would not have: access lists, labels of users. Those of the system come by themselves.
bool has_attributes(const fs::path& folder) {
  char names[4096];
  const ssize_t size = ::llistxattr(folder.c_str(), names, sizeof names);
  if (size < 0) return errno != ENOTSUP;
  for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1)
    if (!std::string_view(names + at).starts_with("security.")) return true;
  return false;
}

// Mode and owner of a folder, given to another, and its times.
bool take_after(const fs::path& to, const fs::path& from, bool with_times) {
  struct stat a {
  }, b{};
  if (::lstat(from.c_str(), &a) != 0 || ::lstat(to.c_str(), &b) != 0) return false;
  if ((a.st_uid != b.st_uid || a.st_gid != b.st_gid) && ::lchown(to.c_str(), a.st_uid, a.st_gid) != 0) return false;
  if (::chmod(to.c_str(), a.st_mode & 07777) != 0) return false;
  const timespec times[] = {a.st_atim, a.st_mtim};
  return !with_times || ::utimensat(AT_FDCWD, to.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0;
}

// Links what is not kerf's in a folder that is replaced into the one that replaces it.
class Carrier {
 public:
  Carrier(const fs::path& from, const fs::path& to, const std::set<fs::path>& left_behind)
      : from_(from), to_(to), left_behind_(left_behind) {
    struct stat s {};
    if (::lstat(from.c_str(), &s) == 0) device_ = s.st_dev;
  }

  /// False when something cannot be linked.
  bool carry(const fs::path& folder = {}, bool with_times = false) {
    if (has_attributes(from_ / folder)) return false;
    bool empty = true, carried = false;
    for (const auto& entry : fs::directory_iterator(from_ / folder)) {
      empty = false;
      const fs::path name = folder / entry.path().filename();
      if ((folder.empty() && is_private(name)) || left_behind_.contains(name)) continue;
      if (++count_ > kMostCarried) return false;
      struct stat s {};
      if (::lstat(entry.path().c_str(), &s) != 0 || s.st_dev != device_) return false;
      if (S_ISDIR(s.st_mode)) {
        const bool staged = is_plain_folder(to_ / name);
        if (!staged && ::mkdir((to_ / name).c_str(), 0700) != 0) return false;
        if (!carry(name, !staged)) return false;
        carried = carried || is_there(to_ / name);
      } else if (!is_there(to_ / name)) {
        if (::linkat(AT_FDCWD, entry.path().c_str(), AT_FDCWD, (to_ / name).c_str(), 0) != 0) return false;
        carried = true;
      } else {
        carried = true;  // replaced
      }
    }
    // A folder in which only files of earlier runs lay goes with them.
    if (!folder.empty() && !empty && !carried) ::rmdir((to_ / folder).c_str());
    return !is_there(to_ / folder) || take_after(to_ / folder, from_ / folder, with_times);
  }

 private:
  const fs::path &from_, &to_;
  const std::set<fs::path>& left_behind_;
  dev_t device_ = 0;
  size_t count_ = 0;
};

// Exchanges the folders. False where that cannot be, with the staged files where they were.
bool publish_at_once(const fs::path& out, const fs::path& stage, const std::set<fs::path>& stale) {
  std::error_code gone;
  if (lies_in(fs::current_path(gone), out)) return false;  // whoever started kerf would stay in the old one
  const fs::path next = replaced_folder(out);
  if (::rename(stage.c_str(), next.c_str()) != 0) return false;
  if (!Carrier(out, next, stale).carry() || !(sync_folder(next), exchange(next, out))) {
    fs::rename(next, stage);
    return false;
  }
  sync_folder(out.parent_path());
  std::error_code left;
  fs::remove_all(next, left);
  return true;
}

nlohmann::ordered_json names_of(const std::vector<fs::path>& files) {
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  for (const fs::path& f : files) names.push_back(f.string());
  return names;
}

[[noreturn]] void fail_in_between(const fs::path& out, std::string_view what, const fs::path& file) {
  const int reason = errno;
  fail(ErrorKind::io,
       "cannot {} {}: {}; the new files of {} are partly in their place, and any command of kerf on that folder will "
       "finish that once it can",
       what, file.string(), std::strerror(reason), out.string());
}

// The work that a journal says, from wherever it was stopped.
void roll_forward(const fs::path& out, const std::vector<fs::path>& moved, const std::vector<fs::path>& removed) {
  const fs::path stage = out / kStagingFolder;
  for (const auto* names : {&moved, &removed})
    for (const fs::path& name : *names)
      for (fs::path p = name.parent_path(); !p.empty(); p = p.parent_path())
        if (is_there(out / p) && !is_plain_folder(out / p))
          fail(ErrorKind::bad_input,
               "{} is no folder, and files are to be published in it; move it, and run this again", (out / p).string());
  const auto remove = [&](const fs::path& name) {
    if (::unlink((out / name).c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
      fail_in_between(out, "remove", out / name);
  };
  // What speaks of the old files goes before them.
  for (const fs::path& name : moved)
    if ((name.filename() == kReportFile || name.filename() == kCardFile) && is_there(stage / name)) remove(name);
  for (const fs::path& name : removed) {
    remove(name);
    for (fs::path p = name.parent_path(); !p.empty(); p = p.parent_path())
      if (::rmdir((out / p).c_str()) != 0) break;
  }
  std::set<fs::path> folders = {out};
  for (const fs::path& name : moved) {
    if (!is_there(stage / name)) continue;  // it has been moved
    fs::create_directories((out / name).parent_path());
    folders.insert((out / name).parent_path());
    if (::rename((stage / name).c_str(), (out / name).c_str()) != 0) fail_in_between(out, "move", stage / name);
  }
  for (const fs::path& folder : folders) sync_folder(folder);
  fs::remove_all(stage);
  fs::remove_all(out / kResumeFolder);
  fs::remove(out / kJournal);
  sync_folder(out);
}

// Files that a journal names: in the folder, and no other.
std::vector<fs::path> names_in(const nlohmann::json& journal, const char* key) {
  std::vector<fs::path> names;
  for (const nlohmann::json& name : journal.at(key)) {
    const fs::path p = name.get<std::string>();
    if (p.empty() || p.is_absolute() || p.lexically_normal() != p || *p.begin() == ".." || *p.begin() == ".")
      throw std::invalid_argument(p.string() + " leads out of the folder");
    names.push_back(p);
  }
  return names;
}

// A number that a folder has on this machine and a journal from elsewhere does not know.
uint64_t inode_of(const fs::path& folder) {
  struct stat s {};
  return ::lstat(folder.c_str(), &s) == 0 ? s.st_ino : 0;
}

void finish_in(const fs::path& out) {
  const fs::path journal = out / kJournal;
  struct stat found {};
  if (::lstat(journal.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return;
  const auto leave = [&](const char* why) {
    warn(fmt::format("{} {}; nothing that it names was moved or removed", journal.string(), why));
  };
  if (found.st_uid != ::geteuid())
    return leave("says that a run of kerf was stopped while it published its files, and belongs to another user");
  const FolderLock lock(out);
  if (!lock.held())
    fail(ErrorKind::usage, "another run of kerf is publishing its files in {}; wait until it is over", out.string());
  std::vector<fs::path> moved, removed;
  uint64_t inode = 0;
  try {
    const auto j = parse_json(read_text(journal, uint64_t{64} << 20), journal.string());
    moved = names_in(j, "move");
    removed = names_in(j, "remove");
    inode = j.at("inode").get<uint64_t>();
  } catch (const std::exception& e) {
    fail(ErrorKind::bad_input,
         "a run of kerf was stopped while it published its files in {}, and {}, which says how to finish that, is "
         "damaged "
         "({}); the new files are in {} as far as they are not in their place: move them there, and remove both",
         out.string(), journal.string(), e.what(), (out / kStagingFolder).string());
  }
  if (inode != inode_of(out)) return leave("was written in another folder than the one it lies in now");
  roll_forward(out, moved, removed);
  note(fmt::format("a run of kerf was stopped while it published its files in {}; that is finished now", out.string()));
}

void publish_by_renames(const fs::path& out, const std::vector<fs::path>& moved, const std::set<fs::path>& stale) {
  const std::vector<fs::path> removed(stale.begin(), stale.end());
  const nlohmann::ordered_json journal = {
      {"inode", inode_of(out)}, {"move", names_of(moved)}, {"remove", names_of(removed)}};
  write_text(out / kJournal, journal.dump(2) + "\n");
  roll_forward(out, moved, removed);
}

}  // namespace

fs::path replaced_folder(const fs::path& out) {
  return out.parent_path() / ("." + out.filename().string() + ".kerf-replaced");
}

void finish_publication(const fs::path& path) {
  std::error_code none;
  fs::path folder = fs::canonical(path, none);
  if (none) return;
  if (!fs::is_directory(folder)) folder = folder.parent_path();
  for (int up = 0; up < 3 && folder.has_relative_path(); ++up, folder = folder.parent_path()) finish_in(folder);
}

Publication::Publication(fs::path out, std::vector<Destination> destinations)
    : out_(std::move(out)), real_(fs::weakly_canonical(fs::absolute(out_))), destinations_(std::move(destinations)) {
  if (!real_.has_filename()) real_ = real_.parent_path();  // OUT/
  stage_ = real_ / kStagingFolder;
}

void Publication::check(const Inputs& inputs) const {
  refuse_inputs(real_, destinations_, inputs);
  for (const Destination& d : destinations_)
    check_places({fs::path(d.folder) / kCardFile, fs::path(d.folder) / kReportFile});
  check_places({kReportFile});
  // As far as it is known by now what will be written: what the source has is copied.
  std::set<fs::path> written = {kReportFile};
  for (const Destination& d : destinations_) {
    const fs::path folder = d.folder;
    for (const char* name : {kCardFile, "config.json", "Modelfile"}) written.insert(folder / name);
    written.insert(folder / d.weights);
    for (const fs::path& file : inputs.model)
      for (const auto& entry : fs::directory_iterator(file.has_parent_path() ? file.parent_path() : "."))
        written.insert(folder / entry.path().filename());
  }
  refuse_foreign(out_, earlier_files(real_, destinations_, written));
}

void Publication::check_places(const std::vector<fs::path>& names) const {
  for (const fs::path& name : names) {
    if (fs::is_directory(fs::symlink_status(real_ / name)))
      fail(ErrorKind::usage, "{} is a folder, and a file of that name is to be written; move it, or give another -o",
           (out_ / name).string());
    for (fs::path p = name.parent_path(); !p.empty(); p = p.parent_path())
      if (is_there(real_ / p) && !is_plain_folder(real_ / p))
        fail(ErrorKind::usage, "{} is {}, and a folder of that name is to be written; move it, or give another -o",
             (out_ / p).string(), fs::is_symlink(real_ / p) ? "a link" : "a file");
  }
}

void Publication::begin() {
  for (fs::path p = real_; !fs::exists(p); p = p.parent_path()) created_.push_back(p);
  fs::create_directories(real_);
  lock_ = std::make_unique<FolderLock>(real_);
  if (!lock_->held())
    fail(ErrorKind::usage, "another run of kerf is writing to {}; wait until it is over, or give another -o",
         out_.string());
  on_signals_.emplace(stage_, created_);
  fs::remove_all(stage_);
  fs::remove_all(replaced_folder(real_));
  fs::create_directory(stage_);
  for (const Destination& d : destinations_) fs::create_directories(stage_ / d.folder);
}

fs::path Publication::published(const fs::path& staged) const { return out_ / staged.lexically_relative(stage_); }

void Publication::publish() {
  const std::vector<fs::path> names = files_below(stage_);
  check_places(names);
  const EarlierFiles earlier = earlier_files(real_, destinations_, {names.begin(), names.end()});
  if (!earlier.foreign.empty()) {
    keep();
    warn(fmt::format("the files of this run are in {}", (out_ / kStagingFolder).string()));
    refuse_foreign(out_, earlier);
  }
  const std::set<fs::path>& stale = earlier.of_kerf;
  for (const auto& entry : fs::recursive_directory_iterator(stage_))
    if (entry.is_directory()) sync_folder(entry.path());
  const auto tell = [&](const char* what, const std::set<fs::path>& files) {
    std::vector<std::string> shown;
    for (const fs::path& name : files) shown.push_back(name.string());
    if (!shown.empty()) warn(fmt::format("{}: {} {}", out_.string(), what, fmt::join(shown, ", ")));
  };
  tell("removing what an earlier run has left:", stale);
  tell("written by an earlier run and changed since, so left there:", earlier.changed);
  on_signals_.reset();
  if (!publish_at_once(real_, stage_, stale)) publish_by_renames(real_, names, stale);
  created_.clear();
  lock_.reset();
}

void Publication::keep() {
  on_signals_.reset();
  created_.clear();
  lock_.reset();
}

Publication::~Publication() {
  std::error_code left;
  // What a journal names is needed to finish.
  if (lock_ && lock_->held() && !fs::exists(real_ / kJournal, left)) fs::remove_all(stage_, left);
  for (const fs::path& folder : created_) fs::remove(folder, left);
}

}  // namespace kerf
