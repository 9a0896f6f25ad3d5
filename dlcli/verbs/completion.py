"""`dlcli completion`: the script that a shell reads once, and the candidates that it asks for at each press of TAB.

Own code, because what is completed is no argparse: GROUP=NAME and GROUP.SETTING=VALUE come from the YAML files and from
the source text of the factories. Nothing of a plugin is run, and neither torch nor Hydra is imported.
"""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from dlcli import registry, verbs
from dlcli.config import catalogue
from dlcli.errors import DlcliError
from dlcli.verbs.arguments import following

BASH = """\
# in ~/.bashrc: eval "$(dlcli completion bash)"
_dlcli() {
    local line="${COMP_LINE:0:COMP_POINT}" candidate
    local word="${line##*[[:space:]]}"
    local before="${word%"${word##*[=:]}"}"  # bash takes = and : for ends of words
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ $candidate == *= ]] && compopt -o nospace 2>/dev/null
        COMPREPLY+=("${candidate#"$before"}")
    done < <(dlcli completion bash "$line" 2>/dev/null)
}
complete -o default -F _dlcli dlcli
"""
ZSH = """\
# in ~/.zshrc, after compinit: eval "$(dlcli completion zsh)"
_dlcli() {
    local -a found
    found=("${(@f)$(dlcli completion zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( ! $#found )); then
        _files
        return
    fi
    compadd -S '' -- ${(M)found:#*=}
    compadd -- ${found:#*=}
}
compdef _dlcli dlcli
"""
FISH = """\
# in ~/.config/fish/config.fish: dlcli completion fish | source
complete -c dlcli -a '(dlcli completion fish (commandline -cp | string collect))'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SCRIPTS)
    parser.add_argument(
        "line", nargs="?", help="the command line up to the cursor: prints what its last word can become"
    )


def run(arguments: Namespace) -> int:
    if arguments.line is None:
        print(SCRIPTS[arguments.shell], end="")
        return 0
    with suppress(DlcliError):  # a line that is wrong completes to nothing; running it will tell
        print("".join(f"{found}\n" for found in candidates(arguments.line)), end="")
    return 0


def candidates(line: str) -> list[str]:
    """What the last word of a line can become; nothing where a file may stand."""
    *before, word = words(line)[1:]
    verb = next((each for each in before if each in verbs.VERBS), None)
    if verb is None:
        return sorted(name for name in verbs.VERBS if name.startswith(word))
    parser = ArgumentParser(add_help=True)
    verbs.module(verb).add_arguments(parser)
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    positional = [action for action in parser._actions if not action.option_strings]
    if word.startswith("-"):
        return sorted(flag for flag in flags if flag.startswith(word))
    takes = {flag: action for flag, action in flags.items() if action.nargs != 0}
    if asked := takes.get(before[-1]):
        return [str(choice) for choice in asked.choices or () if str(choice).startswith(word)]
    if not positional:
        return []
    after = before[before.index(verb) :]
    given = [each for flag, each in pairwise(after) if not each.startswith("-") and flag not in takes]
    here = positional[min(len(given), len(positional) - 1)]
    completer = getattr(here, "completer", lambda: here.choices or ())  # argcomplete's name for it
    found = [str(choice) for choice in completer()]
    if here.dest == "overrides":
        registry.load_installed()
        for plugin in following(before, "--plugin"):
            registry.glance(plugin)
        folders = [*following(before, "--config-dir"), *following(before, "-cd")]
        meant = [f"dataset={name}" for action, name in zip(positional, given, strict=False) if action.metavar == "NAME"]
        found += catalogue.completions(word, [*before, *meant], Path(folders[0]) if folders else None)
    return [name for name in found if name.startswith(word)]


def words(line: str) -> list[str]:
    """Of a line that may end within quotes; the last is empty after a space."""
    try:
        found = shlex.split(line)
    except ValueError:
        found = line.split()
    return [*found, ""] if not found or line[-1].isspace() else found
