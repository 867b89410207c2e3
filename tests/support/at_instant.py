"""``python -m tests.support.at_instant INSTANT -m MODULE ...``: a module at another instant.

The process's clock begins there and goes on; nothing else of it is changed.
"""

import runpy
import sys
from datetime import datetime

import time_machine

if __name__ == "__main__":
    _, instant, dash_m, *sys.argv = sys.argv
    assert dash_m == "-m"
    time_machine.travel(datetime.fromisoformat(instant), tick=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
