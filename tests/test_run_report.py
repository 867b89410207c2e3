"""The report of a run reads back as it was written, and a damaged one says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from batch.core.errors import DataRefused
from batch.lake.partitions import PublishedPartition
from batch.runtime.run_report import (
    REPORTS_KEPT,
    REPORTS_KEPT_FOR,
    RunReport,
    list_run_reports,
    old_run_reports,
)
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore

STARTED = datetime(2025, 1, 31, 21, 30, 0, 123456, tzinfo=UTC)


def test_a_report_reads_back_as_it_was_written(any_lake: ObjectStore) -> None:
    report = RunReport(
        job="consolidate",
        run_id="abc123",
        started_at=STARTED,
        settings={"lake": any_lake.uri, "workers": 2},
        finished_at=STARTED + timedelta(seconds=1.5),
        exit_code=3,
        error="DataRefused: one file",
        counts={"rows": 7},
        partitions=[PublishedPartition("1d", 2025, 7, 1234)],
        problems=["one file"],
    )

    report.keep(any_lake)

    assert list_run_reports(any_lake, 10) == [report]


def test_reports_are_listed_newest_first_up_to_a_limit(any_lake: ObjectStore) -> None:
    for minutes in range(3):
        RunReport("resample", "id", STARTED + timedelta(minutes=minutes), {}).keep(any_lake)
    any_lake.write("_runs/a note.json", b"{}")

    listed = list_run_reports(any_lake, 2)

    assert [report.started_at for report in listed] == [
        STARTED + timedelta(minutes=2),
        STARTED + timedelta(minutes=1),
    ]


def test_reports_are_old_by_age_but_for_the_last_ones(lake: LocalStore) -> None:
    for days in range(REPORTS_KEPT + 3):
        RunReport("resample", "id", STARTED + timedelta(days=days), {}).keep(lake)
    lake.write("_runs/a note.json", b"{}")
    keys = [item.key for item in lake.list("_runs/2")]

    soon = old_run_reports(lake, STARTED + timedelta(days=1) + REPORTS_KEPT_FOR)
    later = old_run_reports(lake, STARTED + timedelta(days=9999))

    assert soon == (keys[0],)
    assert later == tuple(keys[:3])


def test_a_report_that_lacks_later_fields_reads_with_their_defaults() -> None:
    report = RunReport.from_json('{"job": "x", "started_at": "2025-01-31 21:30:00+00:00"}', "here")

    assert (report.exit_code, report.duration_s, report.partitions) == (None, None, [])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"{}", b'{"job": 1}', b"\xff"])
def test_a_damaged_report_is_refused_by_name(lake: LocalStore, content: bytes) -> None:
    key = "_runs/20250131T213000123456Z-verify-id.json"
    lake.write(key, content)

    with pytest.raises(DataRefused, match=rf"{key}: not a run's report .*; remove it"):
        list_run_reports(lake, 10)
