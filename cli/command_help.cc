#include <memory>

#include "cli/command.h"
#include "cli/common.h"
#include "core/error.h"

namespace kerf {
namespace {

void add(CLI::App& program, int*) {
  auto name = std::make_shared<std::string>();
  CLI::App* c = program.add_subcommand("help", "What `kerf --help` prints, or `kerf COMMAND --help`");
  c->add_option("COMMAND", *name, "Of which command; without it of all");
  add_examples(*c, {"kerf help compress"});
  c->callback([&program, name] {
    if (name->empty()) {
      // Not help(), which is that of `help` now.
      print(program.get_formatter()->make_help(&program, program.get_name(), CLI::AppFormatMode::Normal));
      return;
    }
    const auto commands = program.get_subcommands([&](const CLI::App* c) { return c->get_name() == *name; });
    if (commands.empty()) fail(ErrorKind::usage, "{}", no_such_command(program, *name));
    print(commands.front()->help(program.get_name()));
  });
}

}  // namespace

const Command& command_help() {
  static constexpr Command command{add};
  return command;
}

}  // namespace kerf
