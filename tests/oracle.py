"""The rules for daily and N-session bars, said as plainly as can be.

Slow on purpose, one row at a time, from nothing but Python: what the package makes is
judged by it. It shares no code with the package and takes its sessions from the calendar
library directly.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

Row = dict[str, Any]
Key = tuple[str, date]

PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume", "vwap", "trades")


@cache
def library_sessions() -> tuple[date, ...]:
    """Every session of the exchange from 1970-01-02 to 2040, from the calendar library."""
    return tuple(library_closes())


@cache
def library_closes() -> dict[date, datetime]:
    """When each of them closes."""
    import exchange_calendars

    exchange = exchange_calendars.get_calendar("XNYS", start="1970-01-02", end="2040-12-31")
    return {session.date(): close for session, close in exchange.closes.items()}


@dataclass(frozen=True)
class Sent:
    """The rows of one session that came together.

    Attributes:
        received_at: When.
        name: Settles which is newer among those received at the same instant.
        session: Date of the rows.
        rows: As received, dirt included.
    """

    received_at: datetime
    name: str
    session: date
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Split:
    """``ratio`` shares after for one share before, from ``executed`` on."""

    symbol: str
    executed: date
    ratio: float


def sift(
    rows: Iterable[Row], sessions: Sequence[date], received_at: datetime
) -> tuple[list[Row], list[Row]]:
    """Return the rows to keep, and those refused, each with its ``reason``."""
    open_days = set(sessions)
    refused = []
    sound: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        if reasons := _reasons(row, open_days, received_at):
            refused.append({**row, "reason": "; ".join(reasons)})
            continue
        vwap, trades = row["vwap"], row["trades"]
        tidy = {
            **row,
            "volume": row["volume"] or 0.0,  # never -0.0
            "vwap": vwap if vwap is not None and 1e-9 <= vwap <= 1e9 else None,
            "trades": trades if trades is not None and 0 <= trades <= 1e12 else None,
        }
        sound[tuple(tidy.values())] = tidy
    by_key: dict[Key, list[Row]] = defaultdict(list)
    for row in sound.values():
        by_key[row["symbol"], row["date"]].append(row)
    kept = [group[0] for group in by_key.values() if len(group) == 1]
    for group in by_key.values():
        if len(group) > 1:
            told = "symbol and date twice with different values"
            refused += [{**row, "reason": told} for row in group]
    return kept, refused


def _reasons(row: Row, open_days: set[date], received_at: datetime) -> list[str]:
    open_, high, low, close = (row[name] for name in PRICES)
    volume = row["volume"]
    prices = [value for value in (open_, high, low, close) if value is not None]
    numbers = [value for value in prices if not math.isnan(value)]

    def below(left: float | None, right: float | None) -> bool:
        return left is not None and right is not None and left < right

    told = {
        "no symbol": row["symbol"] is None or not row["symbol"].strip(),
        "no date": row["date"] is None,
        "not a session of the exchange": row["date"] is not None and row["date"] not in open_days,
        "session not closed when received": row["date"] in open_days
        and library_closes()[row["date"]] > received_at,
        "price null or NaN": len(numbers) < 4,
        "price infinite": any(math.isinf(value) for value in numbers),
        "price not above zero": any(value <= 0 for value in numbers),
        "price below 1e-9 or above 1e9 USD": any(
            0 < value < 1e-9 or 1e9 < value < math.inf for value in numbers
        ),
        "high below open, low or close": any(below(high, value) for value in (open_, low, close)),
        "low above open, high or close": any(below(value, low) for value in (open_, close)),
        "volume null or NaN": volume is None or math.isnan(volume),
        "volume infinite": volume is not None and math.isinf(volume),
        "volume negative": volume is not None and volume < 0,
        "volume below 1e-9 or above 1e15 shares": volume is not None
        and (0 < volume < 1e-9 or 1e15 < volume < math.inf),
    }
    return [reason for reason, applies in told.items() if applies]


@dataclass(frozen=True)
class Lake:
    """What a lake should hold.

    Attributes:
        daily: Rows with ``split_ratio``, by (symbol, date), sorted.
        restatements: Rows of what later deliveries changed or would have changed, sorted.
        sessions: Every session of the exchange.
    """

    daily: dict[Key, Row]
    restatements: list[Row]
    sessions: Sequence[date]

    @classmethod
    def of(
        cls,
        sent: Iterable[Sent],
        splits: Iterable[Split] = (),
        sessions: Sequence[date] = (),
        on_record: Iterable[Split] | None = None,
    ) -> Lake:
        """Consolidate: the newest wins value by value, splits go to the next row.

        ``on_record`` are the splits that decide which values win; ``splits`` where not given.
        """
        sessions = sessions or library_sessions()
        splits = [*splits]
        on_record = splits if on_record is None else [*on_record]
        daily: dict[Key, Row] = {}
        restatements = []
        for delivery in sorted(set_of(sent), key=lambda one: (one.received_at, one.name)):
            kept, _ = sift(delivery.rows, sessions, delivery.received_at)
            for row in kept:
                key = (row["symbol"], row["date"])
                if key not in daily:
                    daily[key] = row
                    continue
                before, reasons = daily[key], _not_won(daily[key], row, delivery, on_record)
                restatements += [
                    {
                        "symbol": row["symbol"],
                        "date": row["date"],
                        "field": field,
                        "old": before[field],
                        "new": row[field],
                        "received_at": delivery.received_at,
                        "source": delivery.name,
                        "reason": reasons.get(field),
                    }
                    for field in FIELDS
                    if before[field] != row[field]
                ]
                daily[key] = {**row, **{field: before[field] for field in reasons}}
        daily = {key: {**row, "split_ratio": 1.0} for key, row in sorted(daily.items(), key=_order)}
        for split in splits:
            own = [session for symbol, session in daily if symbol == split.symbol]
            at = bisect_left(own, split.executed)
            if at < len(own) and (at > 0 or own[at] == split.executed):
                daily[split.symbol, own[at]]["split_ratio"] *= split.ratio
        restatements.sort(
            key=lambda row: (
                row["symbol"].encode(),
                row["date"],
                row["received_at"],
                row["source"],
                row["field"],
            )
        )
        return cls(daily, restatements, sessions)

    def bars(self, width: int, *, listing: bool = False) -> list[Row]:
        """Return the bars of ``width`` sessions, sorted by (symbol, start)."""
        number = {session: no for no, session in enumerate(self.sessions)}
        newest = max((session for _, session in self.daily), default=None)
        windows: dict[tuple[str, int], list[Row]] = defaultdict(list)
        seen: dict[str, int] = defaultdict(int)
        for (symbol, session), row in self.daily.items():
            counted = seen[symbol] if listing else number[session]
            windows[symbol, counted // width].append(row)
            seen[symbol] += 1
        made = []
        for (symbol, window), rows in windows.items():
            bar = _fold(rows)
            if listing:
                bar |= {"start": rows[0]["date"], "end": rows[-1]["date"]}
                bar |= {"complete": len(rows) == width}
            else:
                end = self.sessions[(window + 1) * width - 1]
                bar |= {"start": self.sessions[window * width], "end": end}
                bar |= {"complete": newest is not None and end <= newest}
            made.append({"symbol": symbol, "sessions": len(rows), **bar})
        return made


def _not_won(known: Row, row: Row, delivery: Sent, splits: Iterable[Split]) -> dict[str, str]:
    """Say of each field of a later row that does not win why not."""
    sessions, closes = library_sessions(), library_closes()
    last = sessions[bisect_right(sessions, delivery.received_at, key=closes.__getitem__)]
    between = [
        split
        for split in sorted(splits, key=lambda one: one.executed)
        if split.symbol == row["symbol"] and row["date"] < split.executed <= last
    ]
    ratio = math.prod(split.ratio for split in between)
    if ratio == 1.0:
        return {}
    reasons = {}
    for field in (*PRICES, "vwap", "volume"):
        before, after = known[field], row[field]
        if before is None or after is None:
            continue
        if field == "volume":
            rebased = before * ratio
            allowed = max(0.02 * rebased, 100.0)
        else:
            rebased = before / ratio
            allowed = 0.005 * rebased
        if abs(after - rebased) <= allowed and abs(after - rebased) < abs(after - before):
            reasons[field] = "other split basis"
    chosen = {field: (known if field in reasons else row)[field] for field in PRICES}
    if chosen["high"] < max(chosen.values()) or chosen["low"] > min(chosen.values()):
        for field in (*PRICES, "vwap"):
            reasons.setdefault(field, "contradicts prices kept")
    return reasons


def set_of(sent: Iterable[Sent]) -> list[Sent]:
    """Return each delivery once: the same rows received at the same instant are one."""
    return list({(one.session, one.received_at, one.name): one for one in sent}.values())


def _order(item: tuple[Key, Row]) -> tuple[bytes, date]:
    (symbol, session), _ = item
    return symbol.encode(), session


def _fold(rows: list[Row]) -> Row:
    """Bring every row to the scale of the last one, then aggregate."""
    scaled = []
    for at, row in enumerate(rows):
        factor = math.prod(later["split_ratio"] for later in rows[at + 1 :])
        prices = {name: row[name] / factor for name in PRICES}
        vwap = None if row["vwap"] is None else row["vwap"] / factor
        scaled.append({**row, **prices, "volume": row["volume"] * factor, "vwap": vwap})
    traded = [row for row in scaled if row["volume"] > 0]
    volume = sum(row["volume"] for row in scaled)
    vwap = None
    if traded and all(row["vwap"] is not None for row in traded):
        vwap = sum(row["vwap"] * row["volume"] for row in traded) / volume
    counts = [row["trades"] for row in rows if row["trades"] is not None]
    trades = sum(counts) if counts and all(row["trades"] is not None for row in traded) else None
    return {
        "open": scaled[0]["open"],
        "high": max(row["high"] for row in scaled),
        "low": min(row["low"] for row in scaled),
        "close": scaled[-1]["close"],
        "volume": volume,
        "vwap": vwap,
        "trades": trades,
        "split_ratio": math.prod(row["split_ratio"] for row in rows),
    }
