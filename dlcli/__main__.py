"""`python -m dlcli`, which is also what `torchrun` needs: torchrun --nproc-per-node 2 -m dlcli train ..."""

import sys

from dlcli.cli import main

if __name__ == "__main__":
    sys.exit(main())
