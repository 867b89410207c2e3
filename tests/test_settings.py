"""Settings are declared once: options, commands and jobs follow from the declarations."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest

from batch.consolidator.command import consolidate_as_set
from batch.core.errors import SettingsError
from batch.resampler.command import resample_as_set
from batch.runtime.progress import Silent, never
from batch.runtime.settings import (
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
    for of_the_command in ("lake", "max_refused_share", "shards"):
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
