// A parsed template: statements and expressions as trees.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/chat/jinja_value.h"

namespace kerf::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Expr {
  enum class Kind {
    constant,
    name,         // name
    tuple,        // parts
    list,         // parts
    dict,         // parts: key, value, key, value ...
    attribute,    // parts[0] . name
    item,         // parts[0] [ parts[1] ]
    slice,        // parts[0] [ parts[1] : parts[2] : parts[3] ], of which the last three may be null
    call,         // parts[0] ( arguments )
    filter,       // parts[0] | name ( arguments ); parts[0] is null for the block that it filters
    test,         // parts[0] is name ( arguments )
    negation,     // not parts[0]
    minus,        // - parts[0]
    plus,         // + parts[0]
    binary,       // parts[0] name parts[1]
    comparison,   // parts[0] ops[0] parts[1] ops[1] parts[2] ..., as Python chains them
    both,         // parts[0] and parts[1]
    either,       // parts[0] or parts[1]
    conditional,  // parts[1] if parts[0] else parts[2], which may be null
    concat,       // parts[0] ~ parts[1] ~ ...
  };
  Kind kind = Kind::constant;
  int line = 0;
  int depth = 1;
  std::string name = {};
  Value constant = {};
  std::vector<ExprPtr> parts = {};
  std::vector<std::string> ops = {};
  CallArguments arguments = {};
};

/// Where a value goes: one name, an attribute of a namespace, or several targets for the items of a list.
struct Assignee {
  std::string name;
  std::string attribute;          // "" for a plain name
  std::vector<Assignee> several;  // then name is ""
};

struct Macro;
struct Statement;
using Block = std::vector<Statement>;

struct Branch {
  ExprPtr condition;  // null: else
  Block body;
};

struct Statement {
  enum class Kind {
    text,        // text
    print,       // value
    set,         // target = value
    set_block,   // target = body, through filter if there is one
    branches,    // if, elif, else
    loop,        // for target in value (if filter): body, else branches[0]
    macro,       // macro
    call_block,  // value is a call, macro its caller
    filter,      // body through filter
    with,        // several targets and values, then body
    scope,       // body, in a scope of its own: {% generation %}
    break_loop,
    continue_loop,
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text = {};
  Assignee target = {};
  ExprPtr value = {}, filter = {};
  Block body = {};
  std::vector<Branch> branches = {};
  std::vector<std::pair<Assignee, ExprPtr>> assignments = {};
  std::shared_ptr<const Macro> macro = {};
};

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Block body;
  bool uses_caller = false;
};

/// Error bad_input where Jinja finds a syntax error, unsupported for the tags and forms that kerf lacks; both through
/// `run`, with the line. Takes valid UTF-8.
Block parse(Run& run, std::string_view source);

}  // namespace kerf::jinja
