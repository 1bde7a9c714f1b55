// The commands of the program. One file per command: command_<name>.cc parses its options, calls the pipeline, prints.
#pragma once

#include <span>

namespace CLI {
class App;
}

namespace kerf {

struct Command {
  /// Adds the subcommand to the program. Its callback stores what the process should return in *exit_code.
  void (*add)(CLI::App& program, int* exit_code);
};

std::span<const Command* const> all_commands();

}  // namespace kerf
