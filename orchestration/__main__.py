"""The command ``ohlcv``, as ``python -m orchestration``: for containers, which install nothing."""

from orchestration.cli.main import main

main()
