"""The images as they run on Fargate, Lambda and with compose: locked up, stopped and killed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
import yaml

from batch.core.sessions import Calendar
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from local_aws.workers import PROJECT
from orchestration.cli.verify import command as verify_command
from simulation.vendor_market import SyntheticMarket
from tests.support.bars import land_rows, received_after
from tests.support.documents import Block, Reader, blocks_of

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
def base(client: str) -> str:
    """The image that ours begin from, which the engine has or can pull."""
    base = (PROJECT / "docker/Dockerfile").read_text().split("ARG BASE=")[1].split()[0]
    for ask in (["image", "inspect", base], ["pull", base]):
        done = subprocess.run([client, *ask], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return base
    pytest.skip(f"{client} cannot pull {base}: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def images(client: str, base: str) -> dict[str, str]:
    """The images, built from this checkout."""
    build = shlex.split(os.environ.get("CONTAINER_BUILD", f"{client} build"))
    build += ["--build-arg", f"BASE={base}", "-f", "docker/Dockerfile"]
    made = {}
    for target in ("consolidator", "resampler", "fetchers", "watcher"):
        made[target] = f"localhost/ohlcv-{target}:test"
        done = subprocess.run(
            [*build, "--target", target, "--tag", made[target], "."],
            cwd=PROJECT,
            env={**os.environ, "BUILDAH_LAYERS": "true"},  # the jobs share their packages' layer
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
        "from batch.runtime.command import run_main\n"
        "from batch.consolidator.command import command\n"
        "load = job.calendar_from\n"
        "def load_slowly(first):\n"
        "    print('working', flush=True)\n"
        "    time.sleep(3)\n"
        "    return load(first)\n"
        "job.calendar_from = load_slowly\n"
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
        subprocess.run([client, "stop", "--time=20", name], capture_output=True, check=True)
        process.stdout.read()
        exit_code = process.wait()
    subprocess.run([client, "rm", "--force", name], capture_output=True, check=True)

    assert exit_code == 75
    assert list(full_lake.glob("silver/1d/**/*.parquet")) == []


def test_the_whole_pipeline_runs_from_the_images(client: str, images: dict[str, str]) -> None:
    """Rehearse in a process of its own: a process holds one local AWS, with all its state."""
    named = [f"--image={name}={image}" for name, image in images.items() if name != "watcher"]
    command = [sys.executable, "-m", "local_aws.rehearsal", "--symbols=15"]

    done = subprocess.run(
        [*command, f"--containers={client}", *named],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


JOBS = ("fetch", "consolidate", "pipeline")
COMPOSE = ("docker/compose.yaml", "docker/trial.yaml")
WATCH = ("docker/watch.yaml",)


def page_blocks(word: str) -> list[Block]:
    """Return the blocks of the page on images that name something."""
    images = (PROJECT / "orchestration" / "README.md").read_text().split("\n## Images\n")[1]
    return [block for block in blocks_of(images) if word in block.content]


def test_what_the_page_shows_of_docker_works(
    client: str, images: dict[str, str], full_lake: Path, tmp_path: Path, s3_endpoint: str
) -> None:
    checkout = tmp_path / "checkout"
    for name in ("batch", "fetchers", "simulation", "docker", "requirements"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=shutil.ignore_patterns("*.pyc"))
    assert run(client, images["consolidator"], full_lake).returncode == 0
    full_lake.rename(checkout / "lake")
    tools = tmp_path / "tools"
    tools.mkdir()
    build = os.environ.get("CONTAINER_BUILD", f"{client} build")
    (tools / "docker").write_text(  # this machine's engine, and the S3 that is on it
        "#!/bin/sh\ncommand=$1\nshift\ncase $command in\n"
        f'build) exec {build} "$@" ;;\n'
        f'run) exec {client} run --network=host --env=AWS_ENDPOINT_URL "$@" ;;\n'
        f'*) exec {client} "$command" "$@" ;;\nesac\n'
    )
    (tools / "docker").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name.startswith("CONTAINER")}
    aws = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    environment = {**kept, **aws, "AWS_ENDPOINT_URL": s3_endpoint, "BUILDAH_LAYERS": "true"}
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(checkout, {**environment, "PATH": path, "HOME": os.environ.get("HOME", "/")})
    bucket = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name=aws["AWS_REGION"],
        aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
    )
    bucket.create_bucket(Bucket="bucket")
    (running,) = page_blocks("docker run")
    (pinning,) = page_blocks("image inspect")

    reader.run(running, "orchestration/README.md")
    printed = reader.run(
        replace(pinning, content=pinning.content.split("\n", 1)[1]), "orchestration/README.md"
    )
    subprocess.run([client, "rmi", "resampler"], capture_output=True, check=True)

    assert {"3d", "34d"} < {path.name for path in (checkout / "lake" / "silver").iterdir()}
    reports = bucket.list_objects_v2(Bucket="bucket", Prefix="lake/_runs/")
    assert reports["KeyCount"] == 1
    assert "@sha256:" in printed


@dataclass(frozen=True)
class Compose:
    """Somebody with one of the compose clients and this checkout's compose files.

    Attributes:
        command: The client.
        one_by_one: Whether each job has to be run by a command of its own.
        project: Begins the names of containers and images.
        lake: Where the lake goes.
        environment: What the client needs to find its engine.
    """

    command: tuple[str, ...]
    one_by_one: bool
    project: str
    lake: Path
    environment: dict[str, str]

    def __call__(
        self, *arguments: str, files: Sequence[str] = COMPOSE, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        given = [text for file in files for text in ("--file", file)]
        engine = {name: value for name, value in os.environ.items() if name.startswith("CONTAINER")}
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **engine}
        named = {"COMPOSE_PROJECT_NAME": self.project, "LAKE": str(self.lake)}
        return subprocess.run(
            [*self.command, *given, *arguments],
            cwd=PROJECT,
            env={**environment, **self.environment, **named, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def page_says(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Do what lines of the page say, which begin with ``docker compose``."""
        for line in lines:
            said = shlex.split(line)[2:]
            files = [said[place + 1] for place, word in enumerate(said) if word == "--file"]
            done = self(*said[2 * len(files) :], files=files)
            if done.returncode:
                break
        return done

    def day(
        self, *, files: Sequence[str] = COMPOSE, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the day as the compose file says."""
        if not self.one_by_one:
            return self("run", "--rm", "pipeline", files=files, **settings)
        if "docker/trial.yaml" in files:
            vendor = self("up", "--detach", "vendor", files=files, **settings)
            assert vendor.returncode == 0, vendor.stderr
        for job in JOBS:
            done = self("run", "--rm", "-T", "--no-deps", job, files=files, **settings)
            if done.returncode:
                break
        return done

    def runs_of(self, job: str) -> list[Path]:
        """Return the reports that a job left in the lake."""
        return sorted((self.lake / "_runs").glob(f"*-{job}-*.json"))


def find_docker_compose() -> tuple[str, ...] | None:
    """Return docker compose of version 2 or newer: the plugin or the command of that name."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]):
            version = subprocess.run(
                [*command, "version", "--short"], capture_output=True, text=True, check=False
            )
            if version.returncode == 0 and int(version.stdout.lstrip("v").split(".")[0]) >= 2:
                return command
    return None


@pytest.fixture(scope="module")
def docker_host(client: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where docker's API answers, which podman serves as well; empty for docker's own place."""
    if Path(client).name != "podman":
        yield ""
        return
    socket = tmp_path_factory.mktemp("engine") / "podman.sock"
    with subprocess.Popen([client, "system", "service", "--time=0", f"unix://{socket}"]) as service:
        deadline = time.monotonic() + 30
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield f"unix://{socket}"
        service.terminate()


@pytest.fixture(params=["docker compose", "podman-compose"])
def compose(
    request: pytest.FixtureRequest, client: str, images: dict[str, str], tmp_path: Path
) -> Iterator[Compose]:
    """A compose client with an empty lake, and images under the names that it gives them."""
    project, lake = f"ohlcv-test-{os.getpid()}", tmp_path / "lake"
    environment, is_podman = {}, request.param == "podman-compose"
    if is_podman:
        beside = Path(sys.executable).with_name("podman-compose")
        if Path(client).name != "podman" or not beside.exists():
            pytest.skip("the engine is not podman, or podman-compose is not installed")
        command: tuple[str, ...] = (str(beside),)
    else:
        found = find_docker_compose()
        if found is None:
            pytest.skip("docker compose is not installed: see docs.docker.com/compose/install")
        host = request.getfixturevalue("docker_host")
        command, environment = found, {"DOCKER_HOST": host} if host else {}
    lake.mkdir()
    lake.chmod(0o777)
    at_home, tags = "localhost/" if Path(client).name == "podman" else "", []
    for file in (*COMPOSE, *WATCH):
        for name, service in yaml.safe_load((PROJECT / file).read_text())["services"].items():
            if "build" in service:
                tags.append(f"{at_home}{project}{'_' if is_podman else '-'}{name}:latest")
                given = (images[service["build"]["target"]], tags[-1])
                subprocess.run([client, "tag", *given], check=True)
    made = Compose(command, is_podman, project, lake, environment)
    try:
        yield made
    finally:
        made("down", "--timeout", "5")
        made("down", "--timeout", "5", files=WATCH)
        subprocess.run([client, "rmi", *tags], capture_output=True, check=True)


def test_compose_runs_the_whole_day_without_a_key(compose: Compose) -> None:
    with_key, trial, loop = (block.content.splitlines() for block in page_blocks("compose"))
    assert with_key == [trial[0].replace(" --file docker/trial.yaml", "")]
    assert loop[0] == f"for job in {' '.join(JOBS)}; do"
    assert "run --rm --no-deps" in loop[1]

    done = compose.day() if compose.one_by_one else compose.page_says(*trial)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [len(compose.runs_of(job)) for job in ("fetch", "consolidate", "resample")] == [1, 1, 1]
    assert run_main(verify_command, ["--lake", str(compose.lake)], name="verify") == 0
    tables = {path.name for path in (compose.lake / "silver").iterdir()}
    assert tables >= {"1d", "3d", "5d", "8d", "13d", "21d", "34d"}


def test_compose_stops_the_day_where_a_job_fails(compose: Compose) -> None:
    done = compose.day(files=COMPOSE[:1])

    assert done.returncode != 0
    assert compose.runs_of("consolidate") == []
    assert compose.runs_of("resample") == []


def test_compose_brings_in_what_is_dropped(compose: Compose, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir(mode=0o755)

    started = compose("up", "--detach", files=WATCH, DROP=str(drop))
    (drop / "bars.csv").write_text(
        "symbol,date,open,high,low,close,volume\nA,2025-01-14,1,1,1,1,9\n"
    )
    deadline = time.monotonic() + 60
    while not list(compose.lake.glob("silver/34d/**/*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    said = compose("logs", files=WATCH)

    assert started.returncode == 0, started.stderr
    assert list(compose.lake.glob("silver/34d/**/*.parquet")), said.stdout + said.stderr
    assert [path.name for path in drop.iterdir()] == ["bars.csv"]


@pytest.mark.parametrize("job", ["consolidate", "pipeline"])
def test_compose_gives_a_job_no_network_no_root_and_nothing_to_write_on(
    compose: Compose, job: str
) -> None:
    code = (
        "import errno, json, os, socket\n"
        "def refused(act):\n"
        "    try:\n"
        "        act()\n"
        "    except OSError as err:\n"
        "        return errno.errorcode[err.errno]\n"
        "print(json.dumps([os.getuid(), refused(lambda: open('/srv/x', 'w')),\n"
        "    refused(lambda: open('/tmp/x', 'w')), refused(lambda: open('/lake/x', 'w')),\n"
        "    refused(lambda: socket.create_connection(('192.0.2.1', 80), 5)),\n"
        "    [name for _, name in socket.if_nameindex() if name != 'lo']]))\n"
    )

    done = compose("run", "--rm", "-T", "--no-deps", "--entrypoint=python", job, "-c", code)

    found = json.loads(done.stdout.splitlines()[-1])
    assert found[:5] == [1000, "EROFS", None, None, "ENETUNREACH"], done.stderr
    assert [name for name in found[5] if not name.startswith(("tunl", "sit", "gre"))] == []
