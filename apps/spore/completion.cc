// spore completion bash|zsh|fish: scripts made from the same table that parses the command line.

#include "apps/spore/command.h"

namespace spore::cli {
namespace {

std::string words_of(const Command& command) {
  std::string words;
  for (const Flag& flag : all_flags(command))
    words += fmt::format("{}{}", words.empty() ? "" : " ", flag.name);
  return words;
}

std::string bash_script() {
  std::string names;
  std::string cases;
  for (const Command& command : commands()) {
    names += fmt::format("{}{}", names.empty() ? "" : " ", command.name);
    cases += fmt::format("    {}) words=\"{}\" ;;\n", command.name, words_of(command));
  }
  return fmt::format(
      "_spore() {{\n"
      "  local current=\"${{COMP_WORDS[COMP_CWORD]}}\" words=\"{}\"\n"
      "  if [ \"$COMP_CWORD\" -gt 1 ]; then\n"
      "    words=\"\"\n"
      "    case \"${{COMP_WORDS[1]}}\" in\n{}    esac\n"
      "    case \"$current\" in -*) ;; *) mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return ;; "
      "esac\n"
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
