import sys

from batch.consolidator.command import command
from batch.runtime.command import run_main

if __name__ == "__main__":
    sys.exit(run_main(command, name="python -m batch.consolidator"))
