"""Whatever order events come in, the bars are those of an import in the order of receipt."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from batch.core.layout import UPLOAD_RULES, partition_key
from batch.core.sessions import load_calendar
from batch.storage.store import ObjectStore
from fetchers.files import imports
from fetchers.uploads.drop import Upload
from fetchers.uploads.inspect import inspect
from fetchers.uploads.receipts import Receipt, State, all_receipts, release, send_back
from fetchers.uploads.settle import finish, settle
from tests.oracle import Row
from tests.support.bars import bar
from tests.support.imports import take_files
from tests.support.killing import Death, DyingStore, Killed
from tests.support.lakes import new_lake, silver_bytes
from tests.support.uploads import MadeDrop, ReadHere, csv_of

SESSIONS = [date(2024, 12, 30), date(2024, 12, 31), date(2025, 1, 2), date(2025, 1, 3)]
START = datetime(2025, 1, 6, 20, 59, 50, tzinfo=UTC)
SYMBOLS = "ABC"
RULES = b"[sources.%s]\nmax_restated_share = 1.0\nmax_unknown_share = 1.0\n"


@dataclass(frozen=True)
class Dropped:
    """A file that is dropped, how its event goes wrong, and when it is found."""

    key: str
    rows: tuple[Row, ...]
    at: datetime


@dataclass(frozen=True)
class History:
    """Files, the rounds in which events of each come, and before which writes rounds are killed.

    What no event tells of is found by the sweep in the end.
    """

    files: tuple[Dropped, ...]
    rounds: tuple[tuple[int, ...], ...]


@st.composite
def histories(draw: st.DrawFn, tag: str) -> History:
    """Draw files of few symbols, sessions and values, so that they meet each other.

    ``tag`` keeps the sources and symbols of a history apart from those of others in a lake.
    """
    made = []
    at = START
    for number in range(draw(st.integers(1, 6))):
        at += timedelta(seconds=draw(st.sampled_from((1, 1, 7, 60, 90_000))))
        own = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=2, unique=True))
        days = draw(st.lists(st.sampled_from(SESSIONS), min_size=1, max_size=3, unique=True))
        close = draw(st.sampled_from((10.0, 10.0, 11.0, 5.0)))
        rows = tuple(bar(f"{symbol}{tag}", day, close) for symbol in own for day in days)
        source = draw(st.sampled_from("xxxy"))
        stamp = draw(st.sampled_from(("", "", "", "-20250106", "-20250106T205955Z")))
        made.append(Dropped(f"{source}{tag}/{''.join(own)}{number}{stamp}.csv", rows, at))
    twice = draw(st.lists(st.integers(0, len(made) - 1), max_size=3))
    events = draw(st.permutations([*range(len(made)), *twice]))
    lost = draw(st.lists(st.integers(0, len(made) - 1), max_size=2))
    rounds: list[list[int]] = [[]]
    for one in events:
        if one not in lost:
            rounds[-1].append(one)
        if draw(st.integers(0, 2)) == 0:
            rounds.append([])
    return History(tuple(made), tuple(map(tuple, rounds)))


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
        take_files(
            lake,
            path,
            load_calendar(),
            source=one.source,
            received_at=one.received_at,
            now=one.uploaded_at,
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


def decide_about_held(
    lake: ObjectStore, now: datetime, decide: Callable[..., Receipt]
) -> list[Receipt]:
    """Release what is held, or send it back."""
    held = [kept.receipt for kept in all_receipts(lake) if kept.receipt.state is State.HELD]
    return [decide(lake, one.id, now=now) for one in held]


def play_out_like_imports(played: Sequence[History], kills: Sequence[int]) -> None:
    """Play histories side by side in one lake, and import their files into another.

    What the guard holds is read again once, then released; of every other history it holds none.
    """
    with new_lake() as lake, new_lake() as other, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drop = MadeDrop(folder)
        sources = {one.key.partition("/")[0] for each in played for one in each.files}
        lenient = sorted(one for one in sources if int(one[1:]) % 2)
        lake.store.write(UPLOAD_RULES, b"".join(RULES % one.encode() for one in lenient))
        uploads = [
            [drop.put(one.key, csv_of(*one.rows), one.at) for one in each.files] for each in played
        ]
        now = START + timedelta(days=9)
        for number in range(max(len(each.rounds) for each in played)):
            own = [
                uploads[place][one]
                for place, each in enumerate(played)
                for one in (each.rounds[number] if number < len(each.rounds) else ())
            ]
            if number < len(kills):
                dying = DyingStore(lake.store, kills[number], Death.AFTER)
                with suppress(Killed):
                    one_round(dying, drop, own, now)
            one_round(lake.store, drop, own, now)
            if number == 1 and any(lake.store.list("bronze/")):
                lake.run((5,))
        everything = [one for each in uploads for one in each]
        decide_about_held(lake.store, now, send_back)
        one_round(lake.store, drop, everything, now)  # the sweep
        while decide_about_held(lake.store, now, release):
            one_round(lake.store, drop, (), now)
        lake.run((5,))
        imported(other.store, folder, drop, everything)
        other.run((5,))

        states = {one.receipt.state for one in all_receipts(lake.store)}
        assert states <= {State.LANDED, State.NOTHING_NEW}
        mine, theirs = (
            {
                key: content
                for key, content in silver_bytes(store).items()
                if not key.startswith("silver/restatements/")
            }
            for store in (lake.store, other.store)
        )
        assert mine == theirs
        assert restated(lake.store) == restated(other.store)
        assert not list(lake.store.list("_state/uploads/staged/"))
        plan = lake.store.head("_state/uploads/landing.json")
        assert plan is None or json.loads(lake.store.read(plan.key)) == []


MANY = int(os.environ.get("OHLCV_HISTORIES", "0"))
"""How many times eight histories are played, at random; the suite plays a few, always the same."""

EIGHT = st.tuples(*(histories(str(tag)) for tag in range(8)))


@pytest.fixture
def _imports_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "Jail", ReadHere)


@pytest.mark.slow
@pytest.mark.usefixtures("_imports_read_here")
@settings(
    max_examples=MANY or 2,
    phases=[Phase.generate],  # to shrink eight of them would take long
    derandomize=not MANY,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
@given(EIGHT, st.lists(st.integers(1, 150), max_size=3))
def test_histories_of_events_give_the_bars_of_an_import(
    played: tuple[History, ...], kills: list[int]
) -> None:
    play_out_like_imports(played, kills)
