"""What the server of `hydra/launcher=process` does once, so that no job has to do it again after its fork."""

import atexit
import importlib
import os

from dlcli import registry
from dlcli.imports import lasting

with lasting():  # the collector of a fork would else write into every page that it shares
    from PIL import Image

    for module in ("dlcli.session", "dlcli.conclusion.conclude"):  # the first brings torch
        importlib.import_module(module)
    Image.preinit()
    for group in registry.FOLDERS:
        registry.names(group)

atexit.register(os._exit, 0)  # it has nothing to put away, and to take torch apart takes a third of a second
