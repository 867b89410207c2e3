"""Fixtures that every test may use: a calendar, empty lakes on both stores, the real corpus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from batch.core.sessions import Calendar, load_calendar
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore, open_store
from tests.support.command_line import end_warm_python
from tests.support.warm import share_service_models

settings.register_profile(
    "ci",
    derandomize=True,
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=8)
settings.register_profile("nightly", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

share_service_models()

CORPUS = Path(
    os.environ.get("OHLCV_TEST_CORPUS", Path(__file__).parents[2] / "shared" / "data")
).resolve()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: an archive has the time in it, and a name must stay the same."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings out of the tests."""
    for name in os.environ:
        if name.startswith(("OHLCV_", "POLYGON_", "MASSIVE_")) and name != "OHLCV_TEST_CORPUS":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """End the processes that commands are forked from."""
    yield
    end_warm_python()


@pytest.fixture(scope="session", autouse=True)
def _one_jail_server() -> Iterator[None]:
    """Let the imports of a session share the process that reads files, and its children."""
    from fetchers.files import jail

    started: list[jail.Server] = []

    def server() -> jail.Server:
        if not started:
            started.append(SharedServer())
        return started[0]

    class SharedServer(jail.Server):
        def end(self) -> None:
            """Live on."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "Server", server)
        yield
    for one in started:
        super(SharedServer, one).end()


@pytest.fixture(scope="session")
def calendar() -> Calendar:
    """The real XNYS calendar."""
    return load_calendar()


@pytest.fixture
def lake(tmp_path: Path) -> LocalStore:
    """An empty lake on disk."""
    return LocalStore(tmp_path / "lake")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of the real deliveries and splits."""
    if not (CORPUS / "us-stocks-deliveries").is_dir():
        pytest.skip(f"the real deliveries are not at {CORPUS}; set OHLCV_TEST_CORPUS")
    return CORPUS


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 API over HTTP on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_lake(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An empty lake under a prefix of a new bucket."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"lake-{uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return open_store(f"s3://{bucket}/market/data")


@pytest.fixture(params=["local", "s3"])
def any_lake(request: pytest.FixtureRequest) -> ObjectStore:
    """An empty lake, once on disk and once on S3."""
    store: ObjectStore = request.getfixturevalue("lake" if request.param == "local" else "s3_lake")
    return store
