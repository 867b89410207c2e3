"""Lakes for tests: filling them from arbitrary histories, and reading what came of it."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from batch.consolidator.job import Consolidation, consolidate
from batch.core.layout import Anchor
from batch.core.sessions import load_calendar
from batch.lake.landing import land
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from tests.oracle import PRICES, Lake, Row, Sent, Split, library_sessions, sift
from tests.support.bars import bar, frame

ODD_SYMBOLS = (
    "A",
    "a",
    "AA",
    "B",
    "BRK.B",
    "BRK/B",
    "NA",
    "NAN",
    "nan",
    "INF",
    "TRUE",
    "null",
    "-1",
    "A B",
    "ß",
    "Ж",
    "\U0001f4c8",
    "../x",
    'say "hi", \\n',
)
"""Tickers that have gone wrong somewhere: case, separators, words that parsers know."""


@dataclass(frozen=True)
class Receipt:
    """Rows that one source sent at one instant, of any number of sessions."""

    received_at: datetime
    source: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class History:
    """What reached a lake, in no particular order."""

    receipts: tuple[Receipt, ...]
    splits: tuple[Split, ...]


@dataclass
class Filled:
    """A lake that is being filled, and the same for the oracle."""

    store: ObjectStore
    sent: list[Sent] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)

    def receive(self, *receipts: Receipt) -> None:
        """Land receipts."""
        for receipt in receipts:
            landed = land(
                self.store,
                frame(receipt.rows),
                received_at=receipt.received_at,
                source=receipt.source,
                calendar=load_calendar(),
            )
            for delivery in landed.deliveries:
                own = tuple(row for row in receipt.rows if row["date"] == delivery.session)
                self.sent.append(Sent(delivery.received_at, delivery.source, delivery.session, own))

    def split(self, *splits: Split) -> None:
        """Add splits to the reference table."""
        if splits:
            rows = [(one.symbol, one.executed, 1.0, one.ratio) for one in splits]
            table = pl.DataFrame(
                rows,
                schema={
                    "symbol": pl.String,
                    "date": pl.Date,
                    "split_from": pl.Float64,
                    "split_to": pl.Float64,
                },
                orient="row",
            )
            add_splits(self.store, table, label="test")
            self.splits += splits

    def expected(self, as_of: datetime | None = None) -> Lake:
        """Ask the oracle what the lake should hold."""
        if as_of is None:
            return Lake.of(self.sent, self.splits)
        sent = [one for one in self.sent if one.received_at <= as_of]
        executed = [one for one in self.splits if one.executed <= as_of.astimezone(UTC).date()]
        return Lake.of(sent, executed, on_record=self.splits)

    def run(
        self,
        widths: Sequence[int] = (5,),
        anchors: Iterable[Anchor] = (Anchor.CALENDAR,),
        *,
        full: bool = False,
        as_of: datetime | None = None,
        workers: int = 2,
    ) -> Consolidation:
        """Consolidate and resample."""
        outcome = consolidate(
            self.store, calendar=load_calendar(), full=full, as_of=as_of, workers=workers
        )
        for anchor in anchors:
            resample(
                self.store,
                intervals=widths,
                anchor=anchor,
                calendar=load_calendar(),
                full=full,
                workers=workers,
            )
        return outcome


@contextmanager
def new_lake() -> Iterator[Filled]:
    """Give an empty lake in memory where the system has a folder for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        root = Path(folder) / "lake"
        root.mkdir()
        yield Filled(LocalStore(root))


def copy_into(lake: Filled, landed: Filled) -> None:
    """Put what landed in one lake on disk into another, which takes less time than landing it."""
    shutil.copytree(landed.store.uri, lake.store.uri, dirs_exist_ok=True)


def silver_bytes(store: ObjectStore) -> dict[str, bytes]:
    """Return the content of every silver object."""
    return {item.key: store.read(item.key) for item in store.list("silver/")}


def versions(store: ObjectStore, prefix: str = "") -> dict[str, str]:
    """Return the version of every object."""
    return {item.key: item.version for item in store.list(prefix)}


def rows_of(store: ObjectStore, table: str) -> list[Row]:
    """Read all years of a silver table, in the order of the files."""
    parts = [pl.read_parquet(BytesIO(store.read(i.key))) for i in store.list(f"silver/{table}/")]
    rows: list[Row] = [row for part in parts for row in part.to_dicts()]
    return rows


def refused_rows(store: ObjectStore) -> list[Row]:
    """Read all rows under rejected, without the lines that they came from."""
    parts = [pl.read_parquet(BytesIO(store.read(i.key))) for i in store.list("bronze/rejected/")]
    return [row for part in parts for row in part.drop("line").to_dicts()]


def assert_same_rows(found: list[Row], expected: list[Row], key: Sequence[str]) -> None:
    """Compare rows by their keys; floats to nine digits, everything else exactly."""

    def keyed(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
        made = {tuple(row[name] for name in key): row for row in rows}
        assert len(made) == len(rows), f"a key {tuple(key)} occurs twice"
        return made

    mine, theirs = keyed(found), keyed(expected)
    assert mine.keys() == theirs.keys()
    for at, row in mine.items():
        wanted = theirs[at]
        assert row.keys() == wanted.keys()
        for name, value in row.items():
            assert _close(value, wanted[name]), (at, name, value, wanted[name])


def _close(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float | int):
        return math.isclose(left, right, rel_tol=1e-9)
    return bool(left == right)


def assert_lake(filled: Filled, expected: Lake) -> None:
    """Compare the daily bars and the restatements of a lake with the oracle's."""
    assert_same_rows(rows_of(filled.store, "1d"), [*expected.daily.values()], ("symbol", "date"))
    key = ("symbol", "date", "field", "received_at", "source")
    assert_same_rows(rows_of(filled.store, "restatements"), expected.restatements, key)


def assert_bars(filled: Filled, expected: Lake, width: int, anchor: Anchor) -> None:
    """Compare the bars of one width with the oracle's."""
    listing = anchor is Anchor.LISTING
    name = f"{width}d_listing" if listing else f"{width}d" if width != 1 else "1d_calendar"
    bars = expected.bars(width, listing=listing)
    assert_same_rows(rows_of(filled.store, name), bars, ("symbol", "start"))


@cache
def session_pool() -> tuple[date, ...]:
    """Sessions on both sides of three year ends, around one with a gap year behind it."""
    known = library_sessions()
    pool: list[date] = []
    for year in (2021, 2022, 2023, 2025):
        own = [session for session in known if session.year == year]
        pool += [*own[:5], own[120], *own[-4:]]
    return tuple(pool)


@st.composite
def rows_on(
    draw: st.DrawFn, symbols: Sequence[str], sessions: Sequence[date], *, dirty: bool
) -> Row:
    """Draw one row: sound, or now and then broken in one of the ways that rows are."""
    close = draw(st.integers(2, 40)) / 4
    row: Row = {
        "symbol": draw(st.sampled_from(symbols)),
        "date": draw(st.sampled_from(sessions)),
        "open": close + draw(st.sampled_from((0.0, 0.25, -0.25))),
        "high": close + draw(st.sampled_from((0.25, 1.0))),
        "low": close - draw(st.sampled_from((0.25, 0.375))),
        "close": close,
        "volume": draw(st.sampled_from((0.0, 0.5, 100.0, 12345.0))),
        "vwap": draw(st.sampled_from((close, close + 0.125, None))),
        "trades": draw(st.sampled_from((1, 7, None))),
    }
    if dirty and draw(st.integers(0, 5)) == 5:
        row |= draw(st.sampled_from(_DIRT))
    return row


_NAN, _INF = float("nan"), float("inf")
_DIRT: tuple[Row, ...] = (
    {"symbol": None},
    {"symbol": " "},
    {"date": None},
    {"date": date(2022, 1, 1)},
    {"date": date(2022, 11, 24)},
    {"open": None},
    {"close": _NAN},
    {"high": _INF},
    {"low": 0.0},
    {"open": -1.0},
    {"high": 0.01},
    {"low": 99.0},
    {"low": 99.0, "high": 0.01},
    {"volume": None},
    {"volume": _NAN},
    {"volume": _INF},
    {"volume": -1.0},
    {"volume": -0.0},
    {"vwap": _NAN},
    {"vwap": 0.0},
    {"vwap": _INF},
    {"trades": -5},
    {"trades": 10**15},
    {"high": 1e308},
    {"low": 5e-324},
    {"volume": 1e308},
    {"volume": 5e-324},
    {"symbol": None, "date": None, "open": None},
)


@st.composite
def histories(
    draw: st.DrawFn, *, most_receipts: int = 5, splits: int = 3, dirty: bool = True
) -> History:
    """Draw deliveries: late, early, repeated, corrected, with symbols left out, and splits."""
    symbols = draw(st.lists(st.sampled_from(ODD_SYMBOLS), min_size=1, max_size=3, unique=True))
    pool = session_pool()
    sessions = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=7, unique=True))
    receipts = []
    for _ in range(draw(st.integers(1, most_receipts))):
        own = draw(st.lists(st.sampled_from(sessions), min_size=1, max_size=4))
        late_days = draw(st.sampled_from((0, 0, 1, 3, 400, -1)))
        evening = datetime.combine(max(own), time(22), tzinfo=UTC)
        rows = draw(st.lists(rows_on(symbols, own, dirty=dirty), min_size=0, max_size=6))
        receipts.append(
            Receipt(evening + timedelta(days=late_days), draw(st.sampled_from("ab")), tuple(rows))
        )
    executed = st.sampled_from(
        [*sessions, *(session + timedelta(days=1) for session in sessions), date(2024, 6, 3)]
    )
    made = draw(
        st.lists(
            st.builds(
                Split, st.sampled_from(symbols), executed, st.sampled_from((2.0, 7.0, 0.1, 1.5))
            ),
            max_size=splits,
            unique_by=lambda one: (one.symbol, one.executed),
        )
    )
    rebased = [draw(sent_again(receipts)) for _ in range(draw(st.integers(0, 2)) if splits else 0)]
    again = [receipt for receipt, _ in rebased if receipt]
    by_key = {(one.symbol, one.executed): one for one in (*made, *(one for _, one in rebased))}
    return History((*receipts, *again), tuple(by_key.values()))


@st.composite
def sent_again(draw: st.DrawFn, receipts: Sequence[Receipt]) -> tuple[Receipt | None, Split]:
    """Draw a split after a row, and a receipt of the row on the scale after it, more or less."""
    pool = session_pool()
    rows = [row for one in receipts for row in sift(one.rows, pool, one.received_at)[0]]
    row = draw(st.sampled_from(rows or [bar("A", pool[0])]))
    executed = row["date"] + timedelta(days=draw(st.sampled_from((1, 1, 2, 3, 400))))
    split = Split(row["symbol"], executed, draw(st.sampled_from((2.0, 7.0, 0.1, 1.5))))
    ratio = split.ratio
    off = draw(st.sampled_from((1.0, 1.0, 1.0, 1.004, 1.006)))
    on_it = {name: row[name] / ratio * off for name in (*PRICES, "vwap") if row[name] is not None}
    if row["volume"]:
        on_it["volume"] = row["volume"] * ratio * draw(st.sampled_from((1.0, 1.0, 1.019, 1.03)))
    # Taken alone, a high corrected on a scale below, or a low on one above, contradicts the rest.
    corrected = "high" if ratio > 1 else "low"
    if corrected in on_it and draw(st.booleans()):
        on_it[corrected] *= 1.1 if ratio > 1 else 0.9
    left = draw(st.sampled_from([(), (), ("volume",), ("vwap",), ("open",), (*PRICES, "vwap")]))
    # In the afternoon and the evening of the day before, in the night, and years later.
    hours = draw(st.sampled_from((-2, -2, 5, 30, -6, 24 * 800)))
    received_at = datetime.combine(executed, time(tzinfo=UTC)) + timedelta(hours=hours)
    sent = {**row, **{name: value for name, value in on_it.items() if name not in left}}
    is_possible = received_at.date() >= row["date"]
    return Receipt(
        received_at, draw(st.sampled_from("ab")), (sent,)
    ) if is_possible else None, split


widths_to_try = st.one_of(
    st.integers(1, 8), st.integers(9, 60), st.sampled_from((250, 251, 252, 253, 500, 777))
)
