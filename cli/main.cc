// The program: parse, call, print. The only place that catches.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <string>

#include "cli/command.h"
#include "cli/common.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/version.h"

namespace {

constexpr const char* kExamples = R"(
Examples:
  kerf compress SmolLM2-135M-Instruct --target llama.cpp-cpu:Q4_0 --text heldout.txt -o out
  kerf verify out --against SmolLM2-135M-Instruct --text heldout.txt --gate 'kl<0.05,top1>0.9'
  kerf inspect out

`kerf help COMMAND` has the options and examples of a command.

Exit codes: 0 success, 1 a gate was missed, 2 usage, 3 bad input, 4 unsupported, 5 numerical trouble, 6 input/output,
70 a mistake in kerf; 130, 143 and 129 when it was stopped by Ctrl-C (SIGINT), SIGTERM or SIGHUP.)";

// A stderr that cannot be written must not hide the exit code, so failures here are passed over.
void say(const std::string& sentence) { std::fputs(("kerf: " + sentence + "\n").c_str(), stderr); }

int run(int argc, char** argv) {
  int exit_code = 0;
  CLI::App program("kerf compresses language models and measures what the compression cost.", "kerf");
  program.footer(kExamples);
  program.require_subcommand(1);
  program.fallthrough();
  program.option_defaults()->group("Everywhere");
  program.set_version_flag("--version", [] {
    return fmt::format("kerf {}\n{}\nkernels: {}", kerf::version(), kerf::cpu_description(),
                       kerf::name_of(kerf::isa()));
  });
  program
      .add_option_function<int>("-j,--threads", kerf::set_threads,
                                "Threads to compute with; 0, the default, for as many as the process may use. The "
                                "files are the same for any number")
      ->type_name("N");
  program.add_flag_callback(
      "-q,--quiet", [] { kerf::set_quiet(true); },
      "No notes and no progress on stderr; warnings and errors are still printed, results go to stdout as ever");
  program.add_flag_callback(
      "-v,--verbose", [] { kerf::set_verbose(true); },
      "Details on stderr as well: of a calibrated run the errors of every matrix and what was chosen for it");
  program.option_defaults()->group("Options");
  for (const kerf::Command* command : kerf::all_commands()) command->add(program, &exit_code);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return program.exit(e);  // --help, --version
    const auto parsed = program.get_subcommands();
    say(fmt::format("{}\n`kerf {}--help` has the options and examples.", kerf::what_was_wrong(program, e),
                    parsed.empty() ? "" : parsed.front()->get_name() + " "));
    return static_cast<int>(kerf::ErrorKind::usage);
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  // A file that is opened must not get the number of a stream that was closed, and reading or writing one fails.
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  kerf::remove_partial_files_on_signals();
  try {
    return run(argc, argv);
  } catch (const kerf::Error& e) {
    say(e.what());
    return e.exit_code();
  } catch (const std::filesystem::filesystem_error& e) {
    const std::string path = e.path1().empty() ? "" : e.path1().string() + ": ";
    say(path + e.code().message());
    return static_cast<int>(kerf::ErrorKind::io);
  } catch (const std::bad_alloc&) {
    say("out of memory");
    return static_cast<int>(kerf::ErrorKind::io);
  } catch (const std::exception& e) {
    say(std::string("a mistake in kerf, please report it: ") + e.what());
    return static_cast<int>(kerf::ErrorKind::internal);
  }
}
