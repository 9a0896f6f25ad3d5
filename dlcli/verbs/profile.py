"""`dlcli profile`: a few training steps under the framework's profiler."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.verbs import arguments as shared

LISTED = 15  # operations of the table
QUIET = "99"  # the profiler would tell stderr of its own beginning and end


def add_arguments(parser: ArgumentParser) -> None:
    shared.add_composition(parser)
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps that are measured: 20")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="outputs/trace.json, for a browser")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    if arguments.steps < 1:
        raise UsageError(f"--steps={arguments.steps} measures nothing", "it is 1 or more")
    config = configs.load_checked(arguments.overrides, arguments.config_dir)
    os.environ.setdefault("KINETO_LOG_LEVEL", QUIET)  # read when torch is loaded
    from dlcli.profiling import profile_steps
    from dlcli.training.durable import replace, storage

    found = profile_steps(config, arguments.steps)
    trace = arguments.trace or Path(config["output_root"]) / "trace.json"
    with storage(trace):
        trace.parent.mkdir(parents=True, exist_ok=True)
    replace(trace, found.trace)
    rate = found.flops / found.step_seconds
    if arguments.format == "json":
        facts = {name: value for name, value in found._asdict().items() if name not in ("trace", "operations")}
        listed = [operation._asdict() for operation in found.operations]
        print(json.dumps({**facts, "flops_per_second": rate, "trace": str(trace), "operations": listed}, indent=2))
        return 0
    print(f"{'operation':<44} {'calls':>7} {'ms a step':>10} {'share':>7}")
    for name, calls, seconds, share in found.operations[:LISTED]:
        print(f"{name[:44]:<44} {calls:>7.1f} {1e3 * seconds:>10.3f} {100 * share:>6.1f} %")
    print(
        f"\nstep   {1e3 * found.step_seconds:.3f} ms without the profiler ({found.device}, {found.threads} threads)\n"
        f"work   {found.flops / 1e6:,.1f} million operations a step, {found.parameters:,} parameters\n"
        f"speed  {rate / 1e9:.2f} GFLOP/s, {100 * rate / found.peak:.1f} % of the {found.peak / 1e9:.1f} that a matrix "
        f"product reaches here\n"
        f"trace  {configs.shown(trace.absolute())}: open it in ui.perfetto.dev or chrome://tracing"
    )
    return 0
