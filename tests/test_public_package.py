"""What ``import ohlcv`` offers."""

from __future__ import annotations

import subprocess
import sys

import ohlcv
from batch.core import errors
from batch.lake.read import Lake
from batch.version import __version__
from reporting.chart import load_chart


def test_the_read_api_the_charts_and_the_errors_are_there_under_one_name() -> None:
    assert ohlcv.Lake is Lake
    assert ohlcv.load_chart is load_chart
    assert ohlcv.SettingsError is errors.SettingsError
    assert ohlcv.__version__ == __version__
    assert sorted(ohlcv.__all__) == dir(ohlcv)
    assert [name for name in ohlcv.__all__ if not hasattr(ohlcv, name)] == []
    assert not hasattr(ohlcv, "Lakes")


def test_importing_it_brings_no_table_library() -> None:
    code = "import sys, ohlcv; print({'polars', 'jinja2', 'pyarrow'} & {*sys.modules})"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "set()"
