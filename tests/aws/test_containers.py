"""The images as they run on Fargate and Lambda: read-only, without root, stopped and killed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batch.core.sessions import Calendar
from batch.lake.local import LocalStore
from fetchers.sources.vendor_market import SyntheticMarket
from orchestration.local_aws.workers import PROJECT
from tests.support.bars import land_rows, received_after

pytestmark = pytest.mark.slow

SESSIONS = 60


def find_client() -> str | None:
    """Return a container client whose engine answers."""
    for name in filter(None, [os.environ.get("CONTAINER_CLI"), "docker", "podman"]):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True, check=False).returncode
        ):
            return name
    return None


@pytest.fixture(scope="session")
def client() -> str:
    found = find_client()
    if found is None:
        pytest.skip("no container engine answers: start docker or podman, or set CONTAINER_CLI")
    return found


@pytest.fixture(scope="session")
def images(client: str) -> dict[str, str]:
    """The three images, built from this checkout."""
    build = shlex.split(os.environ.get("CONTAINER_BUILD", f"{client} build"))
    made = {}
    for target in ("consolidator", "resampler", "fetchers"):
        made[target] = f"localhost/ohlcv-{target}:test"
        done = subprocess.run(
            [*build, "--target", target, "--tag", made[target], "-f", "docker/Dockerfile", "."],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.fixture
def full_lake(tmp_path: Path, calendar: Calendar) -> Path:
    """Deliveries of some weeks in a folder that any user may write to."""
    folder = tmp_path / "lake"
    store = LocalStore(folder)
    first = calendar.session_at(14000)
    market = SyntheticMarket(symbols=50, first=first, seed=3, calendar=calendar)
    for number in range(14000, 14000 + SESSIONS):
        session = calendar.session_at(number)
        rows = market.rows(session, datetime.now(UTC)).to_dicts()
        land_rows(store, rows, calendar, received_at=received_after(session))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777)
    return folder


def run(client: str, image: str, lake: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an image as strictly as on Fargate, and without any network."""
    options = ["--rm", "--read-only", "--tmpfs=/tmp", "--network=none", f"--volume={lake}:/lake"]
    return subprocess.run(
        [client, "run", *options, image, *arguments], capture_output=True, text=True, check=False
    )


def bars(lake: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(lake)): path.read_bytes() for path in lake.rglob("silver/**/*.parquet")
    }


def test_a_local_lake_is_made_read_only_without_network_or_root(
    client: str, images: dict[str, str], full_lake: Path
) -> None:
    daily = run(client, images["consolidator"], full_lake)
    bars_made = run(client, images["resampler"], full_lake)

    assert daily.returncode == 0, daily.stderr
    assert bars_made.returncode == 0, bars_made.stderr
    tables = {path.name for path in (full_lake / "silver").iterdir()}
    assert tables >= {"1d", "3d", "5d", "8d", "13d", "21d", "34d"}
    assert {path.stat().st_uid for path in (full_lake / "silver").rglob("*.parquet")} == {1000}


def test_the_root_file_system_belongs_to_somebody_else(client: str, images: dict[str, str]) -> None:
    code = "import os; print(os.getuid(), *(os.access(p, os.W_OK) for p in ('/srv', '/opt/app')))"
    for image in images.values():
        done = subprocess.run(
            [client, "run", "--rm", "--network=none", "--entrypoint=python", image, "-c", code],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout.split() == ["1000", "False", "False"], done.stderr


def test_a_job_killed_in_the_middle_is_finished_by_the_next_one(
    client: str, images: dict[str, str], full_lake: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(full_lake, twin, copy_function=shutil.copy2)
    for path in [twin, *twin.rglob("*")]:
        path.chmod(0o777)
    for target in ("consolidator", "resampler"):
        assert run(client, images[target], twin).returncode == 0
    options = ["--read-only", "--tmpfs=/tmp", "--network=none", f"--volume={full_lake}:/lake"]
    command = [client, "run", "--rm", "--name=ohlcv-killed", *options, images["consolidator"]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(full_lake.glob("silver/1d/**/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    subprocess.run([client, "kill", "ohlcv-killed"], capture_output=True, check=True)
    process.wait()

    finished = [run(client, images[target], full_lake) for target in ("consolidator", "resampler")]

    assert [done.returncode for done in finished] == [0, 0], finished[0].stderr
    assert bars(full_lake) == bars(twin)


def test_a_job_that_is_stopped_ends_within_seconds(
    client: str, images: dict[str, str], full_lake: Path
) -> None:
    options = ["--read-only", "--tmpfs=/tmp", "--network=none"]
    name = "ohlcv-stopped"
    command = [client, "run", "--name", name, *options, f"--volume={full_lake}:/lake"]
    code = (
        "import sys, time\n"
        "import batch.consolidator.job as job\n"
        "from batch.console.command import run_main\n"
        "from batch.consolidator.command import command\n"
        "load = job.load_calendar\n"
        "def load_slowly():\n"
        "    print('working', flush=True)\n"
        "    time.sleep(3)\n"
        "    return load()\n"
        "job.load_calendar = load_slowly\n"
        "sys.exit(run_main(command, [], name='consolidate'))\n"
    )
    with subprocess.Popen(
        [*command, "--entrypoint=python", images["consolidator"], "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "working" in line:
                break
        began = time.monotonic()
        subprocess.run([client, "stop", "--time=20", name], capture_output=True, check=True)
        process.stdout.read()
        exit_code = process.wait()
    subprocess.run([client, "rm", "--force", name], capture_output=True, check=True)

    assert exit_code == 75
    assert time.monotonic() - began < 10
    assert list(full_lake.glob("silver/1d/**/*.parquet")) == []


def test_the_whole_pipeline_runs_from_the_images(client: str, images: dict[str, str]) -> None:
    """Rehearse in a process of its own: a process holds one local AWS, with all its state."""
    named = [f"--image={target}={image}" for target, image in images.items()]
    command = [sys.executable, "-m", "orchestration.rehearsal", "--symbols=15"]

    done = subprocess.run(
        [*command, f"--containers={client}", *named],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
