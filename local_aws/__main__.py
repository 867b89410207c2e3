"""``python -m local_aws``: a local AWS until Ctrl-C."""

from __future__ import annotations

import argparse
import threading

from local_aws.server import local_aws
from local_aws.workers import Containers, Launcher, Processes


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m local_aws", description=__doc__)
    parser.add_argument("--port", type=int, default=4566, help="where to listen on 127.0.0.1")
    parser.add_argument(
        "--containers", metavar="CLIENT", help="run images with this client, such as podman"
    )
    given = parser.parse_args()
    launcher: Launcher = Containers(given.containers) if given.containers else Processes()
    with local_aws(port=given.port, launcher=launcher) as aws:
        for name, value in aws.environment.items():
            print(f"export {name}={value}", flush=True)  # noqa: T201 - for the shell's eval
        threading.Event().wait()


if __name__ == "__main__":
    main()
