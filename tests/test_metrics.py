"""What ``ohlcv status --metrics`` writes is what its JSON says, as Prometheus' parser reads it."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from batch.audit.metrics import prometheus_text
from batch.audit.status import read_status
from batch.consolidator.job import consolidate
from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.resampler.job import resample
from batch.runtime.command import run_main
from batch.runtime.run_report import RunReport
from batch.storage.local import LocalStore
from orchestration.cli.main import cli
from tests.support.bars import bar, land_rows, received_after
from tests.support.documents import REPOSITORY, blocks_of

Samples = dict[tuple[str, str], float]


def read_metrics(text: str, lake: str) -> Samples:
    """Read samples by name and label value; every one is a gauge with help, of this lake."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("lake") == lake
            (value,) = labels.values() or [""]
            assert (sample.name, value) not in samples
            samples[sample.name, value] = sample.value
    return samples


def seconds(text: str) -> float:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def expected_samples(told: dict[str, Any], code: int) -> Samples:
    """Return the samples that a document of ``ohlcv status --json`` comes to."""
    samples: Samples = {
        ("ohlcv_status_check_timestamp_seconds", ""): seconds(told["at"]),
        ("ohlcv_healthy", ""): not told["problems"],
        ("ohlcv_status_exit_code", ""): code,
        ("ohlcv_restated_values", ""): told["restatements"],
        ("ohlcv_held_back_values", ""): told["held_back_values"],
        ("ohlcv_deliveries_waiting", ""): len(told["waiting"]),
        ("ohlcv_tables_outdated", ""): len(told["outdated"]),
        ("ohlcv_objects_wrong", ""): len(told["wrong"]),
    }
    for name in ("oldest", "newest", "expected"):
        if told[name]:
            samples[f"ohlcv_{name}_session_timestamp_seconds", ""] = seconds(told[name])
    for name in ("behind", "missing", "ahead", "late"):
        samples[f"ohlcv_sessions_{name}", ""] = len(told[name])
    recent = {"refused": "refused_rows", "restated": "restated_values"}
    for key, name in (recent | {"held_back": "held_back_values"}).items():
        for value, count in told[key].items():
            samples[f"ohlcv_recent_{name}", value] = count
    for one in told["tables"]:
        samples["ohlcv_table_rows", one["table"]] = one["rows"]
        samples["ohlcv_table_size_bytes", one["table"]] = one["size_bytes"]
        if one["newest"]:
            name = "ohlcv_table_newest_session_timestamp_seconds"
            samples[name, one["table"]] = seconds(one["newest"])
        if one["open_sessions"] is not None:
            samples["ohlcv_table_open_window_sessions", one["table"]] = one["open_sessions"]
    for run in reversed(told["runs"]):
        samples["ohlcv_last_run_timestamp_seconds", run["job"]] = seconds(run["started_at"])
        samples["ohlcv_last_run_duration_seconds", run["job"]] = run["duration_s"]
        samples["ohlcv_last_run_exit_code", run["job"]] = run["exit_code"]
    return {key: value for key, value in samples.items() if value is not None}


def fill(lake: LocalStore, calendar: Calendar) -> None:
    """Leave a lake with a gap, refused rows, corrections, outdated bars and runs."""
    sessions = [calendar.session_at(number) for number in range(14006, 14015)]
    for session in sessions:
        if session != sessions[3]:
            rows = [bar("A", session), bar("B", session, -1.0)]
            land_rows(lake, rows, calendar, received_at=received_after(session))
    consolidate(lake, calendar=calendar)
    resample(lake, intervals=[3, 5], calendar=calendar)
    resample(lake, intervals=[5], anchor=Anchor.LISTING, calendar=calendar)
    corrected = [bar("A", sessions[4], 12.0)]
    land_rows(lake, corrected, calendar, received_at=received_after(sessions[-1]))
    newest = calendar.session_at(14015)
    land_rows(lake, [bar("A", newest)], calendar, received_at=received_after(newest, 2))
    consolidate(lake, calendar=calendar)
    land_rows(lake, [bar("B", newest)], calendar, received_at=received_after(newest, 3))
    at = received_after(newest, 4)
    for hours, code in ((0, 0), (1, 3)):
        began = at + timedelta(hours=hours, microseconds=250_000)
        ended = began + timedelta(seconds=1.5)
        RunReport("consolidate", "1", began, {}, finished_at=ended, exit_code=code).keep(lake)
    RunReport("resample", "2", at, {}).keep(lake)


def test_the_parser_of_prometheus_reads_what_the_json_says(
    tmp_path: Path, calendar: Calendar, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, metrics = LocalStore(tmp_path / 'a "lake"'), tmp_path / "ohlcv.prom"
    fill(lake, calendar)
    first = calendar.session_at(14006)
    arguments = ["status", "--lake", lake.uri, "--since", str(first), "--json"]

    code = run_main(cli, [*arguments, "--metrics", str(metrics)], name="ohlcv")

    told = json.loads(capsys.readouterr().out)
    found = read_metrics(metrics.read_text(), lake.uri)
    assert found == expected_samples(told, code)
    assert code == 3
    for name in ("refused", "restated", "missing", "behind", "late", "waiting", "outdated"):
        assert told[name], name
    for table, closed in (("3d", False), ("5d", True)):
        bars = pl.read_parquet(lake.root / "silver" / table / "**/*.parquet")
        (told_of,) = [one for one in told["tables"] if one["table"] == table]
        newest = date.fromisoformat(told_of["newest"])
        starts = bars.filter(~pl.col("complete"))["start"].unique().to_list()
        so_far = [session for one in starts for session in calendar.sessions_between(one, newest)]
        assert told_of["open_sessions"] == len(so_far)
        assert closed == (so_far == [])


def test_the_file_of_metrics_is_replaced_whole_and_is_for_others_to_read(
    lake: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.write("_state/note", b"")
    metrics = tmp_path / "metrics" / "ohlcv.prom"
    metrics.parent.mkdir()
    metrics.write_text("of yesterday")
    held_open = metrics.open()

    run_main(cli, ["status", "--lake", lake.uri, "--metrics", str(metrics)], name="ohlcv")

    found = read_metrics(metrics.read_text(), lake.uri)
    assert found["ohlcv_healthy", ""] == 0
    assert ("ohlcv_newest_session_timestamp_seconds", "") not in found
    assert held_open.read() == "of yesterday"
    assert list(metrics.parent.iterdir()) == [metrics]
    assert metrics.stat().st_mode & 0o044 == 0o044
    held_open.close()


def test_metrics_that_cannot_be_written_end_with_2(
    lake: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.write("_state/note", b"")
    nowhere = tmp_path / "nowhere" / "ohlcv.prom"

    code = run_main(cli, ["status", "--lake", lake.uri, "--metrics", str(nowhere)], name="ohlcv")

    assert code == 2
    assert f"--metrics {nowhere}: No such file or directory" in capsys.readouterr().err


def test_the_operators_page_names_every_metric_and_alerts_on_some(
    tmp_path: Path, calendar: Calendar
) -> None:
    lake = LocalStore(tmp_path / "lake")
    fill(lake, calendar)
    status = read_status(lake, now=received_after(calendar.session_at(14015), 5))
    written = {name for name, _ in read_metrics(prometheus_text(status), lake.uri)}
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    table = page.split("| metric | what |")[1].split("\n\n")[0]
    (rules,) = [block.content for block in blocks_of(page) if block.language == "yaml"]
    (group,) = yaml.safe_load(rules)["groups"]
    alerts = [set(re.findall(r"\bohlcv_\w+", rule["expr"])) for rule in group["rules"]]

    documented = set(re.findall(r"`(ohlcv_\w+)", table))

    assert written | {"ohlcv_recent_held_back_values"} == documented
    assert len(alerts) == 2
    assert all(alert and alert <= documented for alert in alerts)
