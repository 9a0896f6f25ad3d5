"""`dlcli sample`: new examples from a generative model, or text from a language model, into the run directory."""

from __future__ import annotations

import io
import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.verbs import arguments as shared

if TYPE_CHECKING:
    import numpy as np


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--count", type=int, help="examples to draw: 64, of texts 1")
    parser.add_argument("--seed", type=int, default=0, help="another one draws others")
    shared.add_checkpoint(parser)
    text = parser.add_argument_group("language models")
    text.add_argument("--prompt", help="what the text goes on from; any first token when nothing is given")
    text.add_argument("--length", type=int, help="tokens to add; as many as the model reads at once")
    text.add_argument("--temperature", type=float, help="below 1 likelier, 0 the likeliest tokens")
    text.add_argument("--top-k", type=int, help="draw among the likeliest so many tokens")
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    refuse_nonsense(arguments)
    config = shared.saved_config(arguments.run_dir)
    import numpy as np

    from dlcli.revisit import Asked, sample
    from dlcli.tasks.pictures import picture
    from dlcli.training.durable import replace

    asked = Asked(*(getattr(arguments, name) for name in Asked._fields))
    drawn, texts = sample(arguments.run_dir.absolute(), config, arguments.checkpoint, asked)
    for text in texts:
        print(f"{text}\n")
    numbers = io.BytesIO()
    np.savez(numbers, samples=drawn)
    files = {"npz": numbers.getvalue()}
    if texts:
        files["txt"] = "\n\n".join(texts).encode()
    if not texts and (shown := picture(drawn)) is not None:
        files["png"] = png(shown)
    folder = arguments.run_dir / "samples"
    folder.mkdir(exist_ok=True)
    for ending, content in files.items():
        path = folder / f"seed-{arguments.seed}.{ending}"
        replace(path, content)
        print(f"wrote  {configs.shown(path)}")
    return 0


def refuse_nonsense(arguments: Namespace) -> None:
    for name, least in (("count", 1), ("seed", 0), ("length", 1), ("top_k", 1), ("temperature", 0)):
        value = getattr(arguments, name)
        if value is not None and not least <= value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')}={value:g} is out of range", f"it is {least} or more")


def png(pixels: np.ndarray) -> bytes:
    """pixels: (height, width, 3) uint8."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
