"""`t5x-lite completion SHELL`: the script that lets a shell complete words, configs, flags and fields."""

from __future__ import annotations

from collections.abc import Sequence

from t5x_lite.commands import FLAGS, WORDS
from t5x_lite.config import load_config, shipped_configs
from t5x_lite.errors import InputError
from t5x_lite.sections import describe

_BASH = """\
_t5x_lite() {
  local current="${COMP_WORDS[COMP_CWORD]}" before="" config="" i
  [ "$COMP_CWORD" -gt 0 ] && before="${COMP_WORDS[COMP_CWORD - 1]}"
  for ((i = 1; i < COMP_CWORD; i++)); do
    [ "${COMP_WORDS[i - 1]}" = --config ] && config="${COMP_WORDS[i]}"
  done
  case "$before" in
    --config | describe)
      COMPREPLY=($(compgen -W "@CONFIGS@" -- "$current") $(compgen -f -X '!*.py' -- "$current"))
      return ;;
    --workdir | index) COMPREPLY=($(compgen -d -- "$current")); return ;;
    completion) COMPREPLY=($(compgen -W "bash zsh" -- "$current")); return ;;
  esac
  if [[ "$current" == --config.* ]]; then
    COMPREPLY=($(compgen -W "$(t5x-lite completion fields "$config" 2>/dev/null)" -- "$current"))
    compopt -o nospace 2>/dev/null
  elif [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "@WORDS@ @FLAGS@" -- "$current"))
  else
    COMPREPLY=($(compgen -W "@FLAGS@ --config." -- "$current"))
  fi
}
complete -F _t5x_lite t5x-lite
"""
_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"


def complete(arguments: Sequence[str]) -> str:
    """The script for a shell ("bash" or "zsh"), to be put where the shell reads it: `eval "$(t5x-lite completion
    bash)"` in ~/.bashrc. "fields CONFIG" is what that script asks for: the flags of a config's fields.

    Raises:
      InputError: another shell.
    """
    match arguments:
        case ["bash"]:
            return _script()
        case ["zsh"]:
            return _ZSH + _script()
        case ["fields", spec] if spec:
            config = load_config(spec, {})
            return "".join(f"--config.{field.name}=\n" for field in describe(type(config), config))
        case _:
            given = " ".join(arguments) or "nothing"
            raise InputError(f"completion: give bash or zsh, got {given}")


def _script() -> str:
    lists = {
        "@CONFIGS@": [file.name for file in shipped_configs()],
        "@FLAGS@": FLAGS,
        "@WORDS@": list(WORDS),
    }
    script = _BASH
    for name, values in lists.items():
        script = script.replace(name, " ".join(values))
    return script
