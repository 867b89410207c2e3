import sys

from batch.console.command import run_main
from batch.consolidator.command import command

if __name__ == "__main__":
    sys.exit(run_main(command, name="python -m batch.consolidator"))
