"""`python -m dlcli`, which is also what `torchrun` needs: torchrun --nproc-per-node 2 -m dlcli train ..."""

from dlcli.cli import program

if __name__ == "__main__":
    program()
