"""`dlcli config`: the composed configuration; with --check it is built and tried on one batch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dlcli import config as configs
from dlcli.verbs import arguments as shared


def add_arguments(parser: ArgumentParser) -> None:
    shared.add_composition(parser)
    parser.add_argument("--check", action="store_true", help="build it, run one batch, show parameters, memory, time")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"), default="job", help="which part to print")
    parser.add_argument("--resolve", action="store_true", help="references resolved")
    parser.add_argument("--package", "-p", metavar="SECTION", help="one section only")


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    config = configs.load_checked(arguments.overrides, arguments.config_dir)  # nothing that is wrong is printed
    if not arguments.check:
        arguments.info = None
        return show(arguments)
    from dlcli.revisit import try_out

    for line in try_out(config):
        print(line)
    return 0


def show(arguments: Namespace) -> int:
    """Print what Hydra composed, as --cfg and --info of any Hydra program do."""
    if arguments.info:
        text = configs.info(arguments.info, arguments.config_dir)
    else:
        text = configs.composed_text(
            arguments.overrides, arguments.config_dir, arguments.cfg, arguments.resolve, arguments.package
        )
    print(text, end="")
    return 0
