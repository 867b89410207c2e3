"""The package installs from its wheel and runs outside the repository."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from batch.version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_no_tool_of_development_and_imports_none(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        modules = [archive.read(name).decode() for name in names if name.endswith(".py")]

    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    imported = {
        node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
        for module in modules
        for node in ast.walk(ast.parse(module))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert packages == {"ohlcv", "batch", "fetchers", "reporting", "simulation", "orchestration"}
    assert {f"{package}/py.typed" for package in packages} <= set(names)
    assert {name.split(".")[0] for name in imported}.isdisjoint({"local_aws", "moto", "tests"})


@pytest.mark.slow
def test_the_wheel_installs_and_runs_in_a_clean_environment(tmp_path: Path, wheel: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed; `make test` installs it")
    outside = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("OHLCV_")
    }

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env=outside,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    venv.create(tmp_path / "clean")
    python = tmp_path / "clean" / "bin" / "python"
    lock = ROOT / "requirements" / "runtime.lock"
    run(uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", lock)
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel)
    ohlcv = python.with_name("ohlcv")

    made = json.loads(
        run(
            ohlcv,
            "demo",
            "--symbols",
            "5",
            "--first",
            "2024-11-01",
            "--last",
            "2024-12-31",
            "--json",
        )
    )
    run(
        ohlcv,
        "chart",
        _some_symbol(run(ohlcv, "sql", "--csv", "select symbol from bars_5d")),
        "--all",
    )
    run(ohlcv, "report")

    assert run(ohlcv, "--version").split()[-1] == __version__
    assert made["differences"] == 0
    assert len(list(tmp_path.glob("*.html"))) == 2


def _some_symbol(listed: str) -> str:
    return listed.splitlines()[1]
