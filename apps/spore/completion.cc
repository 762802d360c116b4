// spore completion bash|zsh|fish: scripts made from the same table that parses the command line.

#include <algorithm>

#include "apps/spore/command.h"

namespace spore::cli {
namespace {

std::string words_of(const Command& command) {
  std::string words;
  for (const Flag& flag : all_flags(command))
    words += fmt::format("{}{}", words.empty() ? "" : " ", flag.name);
  return words;
}

// "add list ..." of "add|list|... [NAME]": what may stand behind the command.  Empty: anything.
std::string verbs_of(const Command& command) {
  const std::string_view first = command.operands.substr(0, command.operands.find(' '));
  if (first.find('|') == std::string_view::npos) return {};
  std::string verbs(first);
  std::ranges::replace(verbs, '|', ' ');
  return verbs;
}

std::string bash_script() {
  std::string names;
  std::string cases;
  for (const Command& command : commands()) {
    names += fmt::format("{}{}", names.empty() ? "" : " ", command.name);
    cases += fmt::format("    {}) words=\"{}\" verbs=\"{}\" ;;\n", command.name, words_of(command),
                         verbs_of(command));
  }
  return fmt::format(
      "_spore() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" words=\"{}\" verbs=\"\"\n"
      "  if [ \"$COMP_CWORD\" -gt 1 ]; then\n"
      "    words=\"\"\n"
      "    case \"${{COMP_WORDS[1]}}\" in\n{}    esac\n"
      "    case \"$current\" in\n"
      "    -*) ;;\n"
      "    *) if [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$verbs\" ]; then words=\"$verbs\"\n"
      "       else mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return; fi ;;\n"
      "    esac\n"
      "  fi\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
      "}}\n"
      "complete -o filenames -F _spore spore\n",
      names, cases);
}

std::string fish_script() {
  std::string script;
  for (const Command& command : commands()) {
    script +=
        fmt::format("complete -c spore -n __fish_use_subcommand -a {} -d '{}'\n", command.name, command.help);
    if (const std::string verbs = verbs_of(command); !verbs.empty()) {
      script +=
          fmt::format("complete -c spore -n '__fish_seen_subcommand_from {}' -a '{}'\n", command.name, verbs);
    }
    for (const Flag& flag : all_flags(command)) {
      const bool is_long = flag.name.starts_with("--");
      script += fmt::format("complete -c spore -n '__fish_seen_subcommand_from {}' {} {}{}\n", command.name,
                            is_long ? "-l" : "-s", flag.name.substr(is_long ? 2 : 1),
                            flag.value.empty() ? "" : " -r");
    }
  }
  return script;
}

}  // namespace

Result<int> print_completion(Args& args) {
  const std::string_view shell = SPORE_TRY(args.positional("bash, zsh or fish"));
  SPORE_TRY(args.finish());
  if (shell == "bash") {
    print(bash_script());
  } else if (shell == "zsh") {
    print("autoload -U +X bashcompinit && bashcompinit\n" + bash_script());
  } else if (shell == "fish") {
    print(fish_script());
  } else {
    return Status::invalid_argument("there is no completion for '{}' (bash, zsh, fish)", shell);
  }
  return kDone;
}

}  // namespace spore::cli
