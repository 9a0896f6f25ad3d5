"""What the server of `hydra/launcher=process` does once, so that no job has to do it again after its fork."""

import atexit
import os

from dlcli.imports import lasting

with lasting():  # the collector of a fork would else write into every page that it shares
    import scipy.special  # noqa: F401  intervals of few examples
    from PIL import Image

    from dlcli import (
        registry,
        session,  # noqa: F401  torch
    )
    from dlcli.conclusion import conclude  # noqa: F401

    Image.preinit()
    for group in registry.FOLDERS:
        registry.names(group)

atexit.register(os._exit, 0)  # it has nothing to put away, and to take torch apart takes a third of a second
