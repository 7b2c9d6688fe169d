"""`splitmix --completion <shell>`: a script that lets a shell complete verbs, keys and the options of groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from splitmix.commands.help import groups, keys_of
from splitmix.errors import UserError

BASH = r"""# Bash completion of splitmix, to be read by: eval "$(splitmix --completion bash)"
_splitmix() {
    local current="${COMP_WORDS[COMP_CWORD]}" key="" prefix="" words=""
    # Bash ends a word at =, zsh does not.
    case "$current" in
        "=") key="${COMP_WORDS[COMP_CWORD-1]}"; current="" ;;
        *=*) key="${current%%=*}"; prefix="$key="; current="${current#*=}" ;;
        *) if [ "${COMP_WORDS[COMP_CWORD-1]}" = "=" ]; then key="${COMP_WORDS[COMP_CWORD-2]}"; fi ;;
    esac
    if [ -n "$key" ]; then
        case "$key" in
@OPTIONS@
        esac
        COMPREPLY=( $(compgen -P "$prefix" -W "$words" -- "$current") )
        return
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=( $(compgen -W "@VERBS@" -- "$current") )
        return
    fi
    case "${COMP_WORDS[1]}" in
@KEYS@
    esac
    COMPREPLY=( $(compgen -S "=" -W "$words" -- "$current") )
}
complete -o default -o nospace -F _splitmix splitmix
"""
ZSH = """# Zsh completion of splitmix, to be read by: eval "$(splitmix --completion zsh)"
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""
FISH = """# Fish completion of splitmix, to be read by: splitmix --completion fish | source
"""


def completion(shell: str, verbs: Iterable[str]) -> str:
    """The script for a shell.

    Args:
        shell: `bash`, `zsh` or `fish`.
        verbs: the verbs of the command line.

    Raises:
        UserError: another shell.
    """
    verbs = list(verbs)
    options = {group: [file.stem for file in files] for group, files in groups().items()}
    keys = {verb: keys_of(verb) for verb in verbs}
    if shell in ("bash", "zsh"):
        script = BASH.replace("@OPTIONS@", cases(options)).replace("@KEYS@", cases(keys, 8))
        script = script.replace("@VERBS@", " ".join(verbs))
        return script if shell == "bash" else ZSH + script.partition("\n")[2]
    if shell == "fish":
        return FISH + "\n".join(fish_lines(verbs, keys, options)) + "\n"
    raise UserError(f"--completion {shell}: give bash, zsh or fish")


def cases(words: Mapping[str, Iterable[str]], indent: int = 12) -> str:
    """The branches of a `case` that set `words`."""
    return "\n".join(f'{" " * indent}{name}) words="{" ".join(values)}" ;;' for name, values in words.items())


def fish_lines(verbs: list[str], keys: Mapping[str, list[str]], options: Mapping[str, list[str]]) -> Iterable[str]:
    """A `complete` command for the verbs and one for the words of each verb."""
    yield f"complete -c splitmix -n __fish_use_subcommand -f -a '{' '.join(verbs)}'"
    for verb in verbs:
        words = [f"{key}={value}" for key in keys[verb] for value in options.get(key, [""])]
        yield f"complete -c splitmix -n '__fish_seen_subcommand_from {verb}' -a '{' '.join(words)}'"
