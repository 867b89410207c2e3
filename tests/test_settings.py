"""Settings are declared once: options, commands and jobs follow from the declarations."""

from __future__ import annotations

import subprocess
import sys
from difflib import get_close_matches
from importlib import import_module

import click
import pytest

from batch.consolidator.command import consolidate_as_set
from batch.core.errors import SettingsError
from batch.resampler.command import resample_as_set
from batch.runtime.command import run_main
from batch.runtime.progress import Silent, never
from batch.runtime.settings import (
    _ALIKE,
    ConsolidatorSettings,
    JobSettings,
    ResamplerSettings,
    Settings,
    settings_of,
)
from batch.storage.local import LocalStore
from fetchers.settings import FetchSettings
from orchestration.cli.demo import DemoSettings
from orchestration.cli.imports import ImportSettings
from orchestration.cli.main import cli
from orchestration.cli.run import RunSettings
from tests.support.command_line import ROOT

COMMANDS: dict[str, type[Settings]] = {
    "consolidate": ConsolidatorSettings,
    "resample": ResamplerSettings,
    "fetch": FetchSettings,
    "import": ImportSettings,
    "run": RunSettings,
    "demo": DemoSettings,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_option_for_every_setting_that_it_reads(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None

    options = {option for parameter in command.params for option in parameter.opts}

    declared = settings_of(COMMANDS[name])
    assert {one.flag for one in declared if not one.option.environment_only} <= options


def test_the_daily_run_reads_the_settings_of_every_step() -> None:
    steps = (FetchSettings, ConsolidatorSettings, ResamplerSettings)

    assert set(RunSettings.model_fields) == {name for step in steps for name in step.model_fields}


@pytest.mark.parametrize(
    ("job", "settings"),
    [
        ("batch.consolidator", ConsolidatorSettings.model_construct(workers=3, full=True)),
        ("batch.resampler", ResamplerSettings.model_construct(workers=3, full=True)),
    ],
)
def test_every_setting_of_a_job_is_passed_to_it(
    job: str, settings: JobSettings, lake: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: dict[str, object] = {}
    name = {"batch.consolidator": "consolidate", "batch.resampler": "resample"}[job]
    monkeypatch.setattr(f"{job}.command.{name}", lambda _store, **given: passed.update(given))
    run = {"consolidate": consolidate_as_set, "resample": resample_as_set}[name]

    run(settings, lake, progress=Silent(), stop_requested=never)

    expected = {**dict(settings), "shard": settings.this_shard}
    for of_the_command in ("lake", "max_refused_share", "shards", "log_format"):
        del expected[of_the_command]
    assert {name: passed[name] for name in expected} == expected


def test_contradicting_settings_are_reported_by_the_names_of_their_variables() -> None:
    with pytest.raises(SettingsError) as raised:
        ResamplerSettings.read(shard="4", shards="4")

    assert str(raised.value) == "OHLCV_SHARD: 4 given, must be below OHLCV_SHARDS, which is 4"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_SHARD", "")
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "2")

    assert ResamplerSettings.read(shards="4").this_shard.index == 2


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("workers", "x", "expected a whole number from 1 to 64, got 'x'"),
        ("workers", "65", "expected a whole number from 1 to 64, got '65'"),
        ("max_refused_share", "2", "expected a number from 0 to 1, got '2'"),
        ("memory_limit", "huge", "expected a size such as 1GiB, got 'huge'"),
        ("anchor", "moon", "expected calendar or listing, got 'moon'"),
        ("full", "maybe", "expected true or false, got 'maybe'"),
        ("intervals", "5,0", "expected a whole number of at least 1, got 0"),
        ("intervals", " , ", "expected at least one value, got []"),
        ("polygon_share", "0", "expected a number above 0 and up to 1, got '0'"),
        ("polygon_retry_s", "-1", "expected a number of at least 0, got '-1'"),
        ("polygon_base_url", "ftp:", "expected a value such as https://api.polygon.io, got 'ftp:'"),
        ("as_of", "2025-01-10T09:00", "'2025-01-10T09:00' has no time zone: add Z or +00:00"),
    ],
)
def test_a_wrong_value_is_told_in_a_users_words(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"OHLCV_{name.upper()}"
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as raised:
        RunSettings.read()

    assert str(raised.value) == f"{variable}: {told}"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("OHLCV_LAKEE", "OHLCV_LAKE"),
        ("OHLCV_LAEK", "OHLCV_LAKE"),
        ("ohlcv_lak", "OHLCV_LAKE"),
        ("OHLCV_INTERVAL", "OHLCV_INTERVALS"),
        ("OHLCV_WORKER", "OHLCV_WORKERS"),
        ("OHLCV_DETAILS", "OHLCV_DETAILS_PER_RUN"),
        ("OHLCV_REQUESTS_PER_MINUTE", "OHLCV_POLYGON_REQUESTS_PER_MINUTE"),
    ],
)
def test_a_misspelled_variable_is_an_error_that_names_the_right_one(
    variable: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "x")

    with pytest.raises(SettingsError) as raised:
        Settings.read()

    assert str(raised.value) == f"unknown {variable}; did you mean {meant}?"


def test_misspelled_variables_are_reported_together_with_wrong_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OHLCV_LAKEE", "OHLCV_WORKERS", "OHLCV_FULLL"):
        monkeypatch.setenv(name, "x")

    with pytest.raises(SettingsError) as raised:
        ResamplerSettings.read(anchor="moon")

    assert [part.partition(" ")[0] for part in str(raised.value).split("; ")] == [
        *("unknown", "did", "unknown", "did"),
        *("OHLCV_WORKERS:", "--anchor:"),
    ]


def test_no_setting_is_taken_for_a_misspelled_one_of_another_package() -> None:
    def names(kind: type[Settings]) -> set[str]:
        variables = {name for setting in settings_of(kind) for name in setting.variables}
        return {name.removeprefix("OHLCV_") for name in variables}

    of_jobs = names(ConsolidatorSettings) | names(ResamplerSettings)

    assert len(names(FetchSettings) - of_jobs) > 10
    for name in names(FetchSettings) - of_jobs:
        assert get_close_matches(name, of_jobs, cutoff=_ALIKE) == [], name


@pytest.mark.parametrize("variable", ["OHLCV_PORT", "OHLCV_SERVICE_HOST", "OHLCV_COLOUR"])
def test_a_variable_that_resembles_no_setting_is_a_warning(
    variable: str,
    lake: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, "tcp://10.0.0.1:80")
    monkeypatch.setenv("OHLCV_EMPTY", "")
    lake.write("_state/note", b"")

    code = run_main(cli, ["consolidate", "--lake", lake.uri, "--quiet"], name="ohlcv")

    said = capsys.readouterr().err
    assert code == 0
    assert said.count("unknown") == said.count(f"unknown {variable}: ignored; ") == 1


def test_completing_the_name_of_a_command_imports_none() -> None:
    code = (
        "import sys, click\n"
        "from orchestration.cli.main import cli\n"
        "print([item.value for item in cli.shell_complete(click.Context(cli), 'con')])\n"
        "print([name for name in ('pydantic', 'batch.consolidator') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.splitlines() == ["['consolidate']", "[]"]


@pytest.mark.parametrize("module", ["batch.consolidator", "batch.resampler"])
def test_the_entry_points_of_the_images_are_the_commands(module: str) -> None:
    name = {"batch.consolidator": "consolidate", "batch.resampler": "resample"}[module]

    assert import_module(f"{module}.command").command is cli.get_command(click.Context(cli), name)
