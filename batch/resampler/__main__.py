import sys

from batch.resampler.command import command
from batch.runtime.command import run_main

if __name__ == "__main__":
    sys.exit(run_main(command, name="python -m batch.resampler"))
