"""A plugin whose model meets a fault where it is built, until there is a file `cured`."""

FAULTY = '''
import os, signal
from pathlib import Path
from typing import Literal
import torch
from dlcli.registry import register

@register("initialization", "faulty")
def faulty(*, deed: Literal["none", "raise", "kill", "exhaust"]):
    """Meets a fault where the model is built, until there is a file `cured`."""
    def act(model):
        if deed == "none" or Path("cured").exists():
            return
        if deed == "raise":
            raise RuntimeError("a bug of the user")
        if deed == "exhaust":
            torch.empty(10**14)
        os.kill(os.getpid(), signal.SIGKILL)
    return act
'''
