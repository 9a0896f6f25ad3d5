"""`dlcli export`: a trained model as a file that other programs run, checked against the original."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import config as configs
from dlcli.verbs import arguments as shared


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "--format", choices=("torch", "onnx"), default="torch", help="torch: a program of torch.export; onnx: an extra"
    )
    parser.add_argument("--output", "-o", type=Path, metavar="FILE", help="RUN_DIR/export/model.pt2 or .onnx")
    shared.add_checkpoint(parser)
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    config = shared.saved_config(arguments.run_dir)
    from dlcli.exports import export

    done = export(arguments.run_dir.absolute(), config, arguments.checkpoint, arguments.format, arguments.output)
    beside = configs.shown(Path(done.path.with_suffix(".json").name))
    print(f"wrote  {configs.shown(done.path)}, and {beside}, which says what goes in and comes out")
    print(f"check  on {done.examples} test examples it differs from the run's model by {done.difference:.2g} at most")
    return 0
