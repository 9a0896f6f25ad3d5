"""What the server of `hydra/launcher=process` does once, so that no job has to do it again after its fork."""

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
