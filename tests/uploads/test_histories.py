"""Whatever order events come in, the bars are those of an import in the order of receipt."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from batch.core.layout import UPLOAD_RULES, partition_key
from batch.core.sessions import load_calendar
from batch.runtime.progress import Silent, never
from batch.storage.store import ObjectStore
from fetchers.files.imports import import_files
from fetchers.files.reader import find_files
from fetchers.uploads.drop import Upload
from fetchers.uploads.inspect import inspect
from fetchers.uploads.receipts import State, all_receipts
from fetchers.uploads.settle import finish, settle
from tests.oracle import Row
from tests.support.bars import bar
from tests.support.killing import Death, DyingStore, Killed
from tests.support.lakes import new_lake, silver_bytes
from tests.support.uploads import MadeDrop, ReadHere, csv_of

SESSIONS = [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 2), date(2025, 1, 3)]
START = datetime(2025, 1, 6, 20, 59, 50, tzinfo=UTC)
SYMBOLS = "ABC"
RULES = b"[sources.x]\nmax_restated_share = 1.0\nmax_unknown_share = 1.0\n"


@dataclass(frozen=True)
class Dropped:
    """A file that is dropped, how its event goes wrong, and when it is found."""

    key: str
    rows: tuple[Row, ...]
    at: datetime


@st.composite
def files(draw: st.DrawFn) -> list[Dropped]:
    """Draw files of few symbols, sessions and values, so that they meet each other."""
    made = []
    at = START
    for number in range(draw(st.integers(1, 6))):
        at += timedelta(seconds=draw(st.sampled_from((1, 1, 7, 60, 90_000))))
        own = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=2, unique=True))
        days = draw(st.lists(st.sampled_from(SESSIONS), min_size=1, max_size=3, unique=True))
        close = draw(st.sampled_from((10.0, 10.0, 11.0, 5.0)))
        rows = tuple(bar(symbol, day, close) for symbol in own for day in days)
        source = draw(st.sampled_from("xxxy"))
        stamp = draw(st.sampled_from(("", "", "", "-20250106", "-20250106T205955Z")))
        made.append(Dropped(f"{source}/{''.join(own)}{number}{stamp}.csv", rows, at))
    return made


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Dropped], list[list[int]], list[int]]:
    """Draw files, the rounds in which each is found, and at which writes rounds are killed."""
    made = draw(files())
    order = draw(
        st.permutations([*range(len(made)), *draw(st.lists(st.integers(0, 9), max_size=3))])
    )
    events = [one for one in order if one < len(made)]
    rounds: list[list[int]] = [[]]
    for one in events:
        rounds[-1].append(one)
        if draw(st.integers(0, 2)) == 0:
            rounds.append([])
    lost = draw(st.lists(st.integers(0, len(made) - 1), max_size=2))
    rounds = [[one for one in each if one not in lost] for each in rounds]
    kills = draw(st.lists(st.integers(1, 40), max_size=len(rounds)))
    return made, rounds, kills


def one_round(lake: ObjectStore, drop: MadeDrop, uploads: Sequence[Upload], now: datetime) -> None:
    calendar = load_calendar()
    for one in uploads:
        inspect(lake, drop, one, calendar=calendar, now=now, jail=ReadHere())
    settled = settle(lake, drop, calendar=calendar, now=now)
    finish(lake, settled, now=now)


def imported(lake: ObjectStore, folder: Path, drop: MadeDrop, taken: Sequence[Upload]) -> None:
    for one in sorted(taken, key=lambda each: (each.received_at, each.uploaded_at, each.key)):
        path = folder / f"import {one.id}" / Path(one.key).name
        path.parent.mkdir()
        path.write_bytes((drop.folder / one.id).read_bytes())
        import_files(
            lake,
            find_files(str(path)),
            calendar=load_calendar(),
            source=one.source,
            received_at=one.received_at,
            now=one.uploaded_at,
            max_refused_share=0.01,
            workers=1,
            progress=Silent(),
            stop_requested=never,
        )


def restated(store: ObjectStore) -> list[tuple[object, ...]]:
    """Return restatements without whose delivery it was: gathered ones are received as one."""
    rows = []
    for year in (2024, 2025):
        key = partition_key("restatements", year)
        if store.head(key):
            found = pl.read_parquet(store.read(key))
            rows += found.select("symbol", "date", "field", "old", "new", "reason").rows()
    return sorted(rows, key=str)


def plays_out_like_an_import(
    history: tuple[list[Dropped], list[list[int]], list[int]],
) -> None:
    made, rounds, kills = history
    with new_lake() as lake, new_lake() as other, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drop = MadeDrop(folder)
        lake.store.write(UPLOAD_RULES, RULES + RULES.replace(b".x]", b".y]"))
        uploads = [drop.put(one.key, csv_of(*one.rows), one.at) for one in made]
        now = START + timedelta(days=9)
        for number, found in enumerate(rounds):
            own = [uploads[one] for one in found]
            if number < len(kills):
                dying = DyingStore(lake.store, kills[number], Death.AFTER)
                with suppress(Killed):
                    one_round(dying, drop, own, now)
            one_round(lake.store, drop, own, now)
            if number % 2 and any(lake.store.list("bronze/")):
                lake.run((5,))
        one_round(lake.store, drop, uploads, now)  # the sweep
        lake.run((5,))
        imported(other.store, folder, drop, uploads)
        other.run((5,))

        states = {one.receipt.state for one in all_receipts(lake.store)}
        assert states <= {State.LANDED, State.NOTHING_NEW}
        mine, theirs = silver_bytes(lake.store), silver_bytes(other.store)
        restatements = "silver/restatements/"
        assert {key: value for key, value in mine.items() if not key.startswith(restatements)} == {
            key: value for key, value in theirs.items() if not key.startswith(restatements)
        }
        assert restated(lake.store) == restated(other.store)
        assert not list(lake.store.list("_state/uploads/staged/"))
        plan = lake.store.head("_state/uploads/landing.json")
        assert plan is None or json.loads(lake.store.read(plan.key)) == []


MANY = int(os.environ.get("OHLCV_HISTORIES", "0"))


PHASES = [Phase.generate] if MANY else [*Phase]


@settings(
    max_examples=MANY or 12,
    phases=PHASES,
    derandomize=not MANY,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
@given(histories())
def test_a_history_of_events_gives_the_bars_of_an_import(
    history: tuple[list[Dropped], list[list[int]], list[int]],
) -> None:
    plays_out_like_an_import(history)
