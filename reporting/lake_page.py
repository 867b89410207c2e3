"""The report of a lake as one HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from batch.runtime.formats import size_text
from reporting.facts import (
    SUSPECT_FACTOR,
    Coverage,
    LakeFacts,
    Move,
    Moves,
    Refused,
    Restated,
    RunFact,
    TableSize,
)
from reporting.heatmap import CLASSES, class_of, draw_year
from reporting.marks import MARKS_CSS, meter, month_columns, sparkline
from reporting.page import page
from reporting.svg import count_text, price_text

_PRICE_FIELDS = ("open", "high", "low", "close")
_RUNS_SHOWN = 12
_DATES_SHOWN = 12

_CSS = (
    MARKS_CSS
    + """
header{border-bottom:1px solid var(--line);padding-bottom:18px}
header .muted{overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));gap:18px 26px;
margin:22px 0 4px;padding:0}
.facts div{border-left:2px solid var(--line);padding-left:12px}
.facts dt{color:var(--muted);font-size:12.5px}
.facts dd{margin:0;font-size:22px;line-height:1.25;font-weight:640;letter-spacing:-.01em}
.facts small{display:block;font-size:12.5px;font-weight:400;letter-spacing:0;color:var(--muted)}
.facts .late{border-color:var(--warn)}.facts .late small{color:var(--warn)}
.facts .good{border-color:var(--rise)}
section{margin-top:38px}
section>p{color:var(--muted);margin-bottom:14px}
.years{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));
gap:20px 28px}
.years h3{font-size:13.5px;font-weight:640;margin:0 0 6px}
section>h3{font-size:13.5px;font-weight:600;margin:18px 0 4px}
.year{max-width:900px}
.legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:12.5px;color:var(--muted);
margin:14px 0 0;max-width:none}
.legend svg{display:inline-block;width:11px;height:11px;margin-right:5px;vertical-align:-1px}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));
gap:30px 40px;align-items:start}
.side section{margin-top:38px;min-width:0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;line-height:1.35}
th{font-weight:500;color:var(--muted);text-align:left;font-size:12.5px;
border-bottom:1px solid var(--line);padding:4px 14px 4px 0;white-space:nowrap}
td{padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:middle}
th:last-child,td:last-child{padding-right:0}
.n{text-align:right;white-space:nowrap}
.nw{white-space:nowrap}
.grow{width:22%;min-width:60px}
.wrap{width:36%;min-width:120px}
.flag,.fine.flag{color:var(--warn)}
.fine{color:var(--muted);font-size:13px}
figure+figure{margin-top:14px}
@media print{section{margin-top:24px}.side{margin-top:24px}.side section{margin-top:0}
tr,.years>div{break-inside:avoid}
h2,h3,section>p{break-after:avoid}.facts{grid-template-columns:repeat(5,auto);gap:12px}
.wide{overflow:visible}body{font-size:11pt}}
"""
)


def report_page(facts: LakeFacts, *, theme: str = "auto") -> str:
    """Return the report; ``theme`` is ``auto``, ``light`` or ``dark``."""
    body = "".join(
        (
            _header(facts),
            _coverage(facts.coverage),
            _moves(facts.moves, facts.splits),
            '<div class="side">',
            _refused(facts.refused, facts.coverage.rows),
            _restated(facts.restated),
            "</div>",
            '<div class="side">',
            _tables(facts.tables),
            _runs(facts.runs),
            "</div>",
            _footer(facts),
        )
    )
    return page(f"Lake report, {facts.made_at:%Y-%m-%d}", body, css=_CSS, theme=theme)


def _footer(facts: LakeFacts) -> str:
    return (
        f"<footer>Made by <code>ohlcv report</code> on {facts.made_at:%Y-%m-%d at %H:%M} UTC"
        " from the tables of the lake. Prices in USD.</footer>"
    )


def _header(facts: LakeFacts) -> str:
    coverage = facts.coverage
    empty = len(coverage.empty_sessions)
    newest = coverage.sessions[-1].session if coverage.sessions else None
    if newest is None:
        fresh = "no bars yet"
    elif facts.behind:
        fresh = f"{_many(facts.behind, 'session')} behind {facts.newest_closed}"
    else:
        fresh = "the last session that closed"
    first = f"from {coverage.sessions[0].session}" if newest else ""
    size = sum(table.total_bytes for table in facts.tables)
    waiting = f"{_many(facts.waiting, 'delivery', 'deliveries')} not yet consolidated"
    tiles = (
        _fact("Newest session", str(newest or "none"), fresh, "late" if facts.behind else "good"),
        _fact(
            "Sessions",
            f"{len(coverage.sessions):,}",
            f"{_many(empty, 'gap')}" if empty else f"{first}, no gap",
            "late" if empty else "good",
        ),
        _fact("Symbols", f"{coverage.symbols:,}", f"{coverage.patchy_symbols:,} miss sessions"),
        _fact("Daily bars", count_text(coverage.rows), f"{facts.refused.rows:,} rows refused"),
        _fact(
            "Tables",
            size_text(size),
            waiting if facts.waiting else "everything received is in them",
            "late" if facts.waiting else "",
        ),
    )
    return (
        f'<header><h1>Lake report</h1><p class="muted"><code>{escape(facts.uri)}</code></p>'
        f'</header><dl class="facts">{"".join(tiles)}</dl>'
    )


def _fact(name: str, value: str, note: str, kind: str = "") -> str:
    return (
        f'<div class="{kind}"><dt>{escape(name)}</dt>'
        f"<dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
    )


def _coverage(coverage: Coverage) -> str:
    if not coverage.sessions:
        return _section("Coverage", "There are no daily bars yet.", "")
    years = "".join(
        f"<div><h3>{year}</h3>{draw_year(year, list(found))}</div>"
        for year, found in groupby(coverage.sessions, key=lambda found: found.session.year)
    )
    counts = [0] * len(CLASSES)
    for found in coverage.sessions:
        counts[class_of(found)] += 1
    legend = "".join(
        f'<span><svg viewBox="0 0 11 11"><rect class="cell{n}" width="11" height="11" rx="1.5"/>'
        f"</svg>{name}: {counts[n]:,}</span>"
        for n, (_, name) in reversed(list(enumerate(CLASSES)))
        if counts[n]
    )
    intro = (
        "Each cell is a session; its colour is the share of symbols that have a bar, of those"
        " whose first and last bars lie around it. Days on which the exchange was closed are blank."
    )
    notes = []
    if coverage.empty_sessions:
        dates = _some([str(session) for session in coverage.empty_sessions], _DATES_SHOWN)
        notes.append(f'<p class="fine flag">No bars at all on {dates}.</p>')
    if coverage.patchy:
        named = "; ".join(
            f"{escape(symbol)} {missing:,} of {span:,}" for symbol, span, missing in coverage.patchy
        )
        many = coverage.patchy_symbols
        notes.append(
            f'<p class="fine">{_many(many, "symbol")} {"misses" if many == 1 else "miss"} sessions'
            f" between first and last bar. Most: {named}.</p>"
        )
    body = f'<div class="years">{years}</div><p class="legend">{legend}</p>{"".join(notes)}'
    return _section("Coverage", intro, body)


def _moves(moves: Moves, splits: int) -> str:
    title = "Moves that no split explains"
    big = f"{SUSPECT_FACTOR:g} times the close before, or less than that part of it"
    if not moves.count:
        return _section(title, f"No close is {big}, after {_many(splits, 'split')} on record.", "")
    intro = (
        f"Closes that are {big}, after the {_many(splits, 'split')} on record: {moves.count:,},"
        " a price that went and came back counted once. `ohlcv quality` looks closer."
    )
    body = ""
    if moves.like_splits:
        body += _move_table(
            f"As clean as a split, and it stayed: {moves.like_splits_count:,}. Most traded first;"
            " a split may be missing from the record.",
            "Looks like",
            moves.like_splits,
        )
    if moves.others:
        body += _move_table(
            f"Others: {moves.others_count:,}. Biggest first.", "Back again", moves.others
        )
    return _section(title, intro, body)


def _move_table(caption: str, told: str, moves: Sequence[Move]) -> str:
    head = ("Symbol", "Session", ">Before", ">After", ">Factor", told, "Split on record", "Closes")
    return f"<h3>{escape(caption)}</h3>" + _table(head, [_move_row(move) for move in moves])


def _move_row(move: Move) -> list[str]:
    label = f"{move.symbol}: closes around {move.session}"
    factor = move.factor
    if move.back_on:
        told = str(move.back_on)
    else:
        told = f'<span class="flag">{move.looks_like}</span>' if move.looks_like else ""
    return [
        f"<strong>{escape(move.symbol)}</strong>",
        str(move.session),
        price_text(move.before),
        price_text(move.after),
        f"×{factor:,.2f}" if factor >= 1 else f"÷{1 / factor:,.2f}",
        told,
        escape(move.on_record) or '<span class="fine">none near</span>',
        sparkline(move.closes, move.at, label),
    ]


def _refused(refused: Refused, accepted: int) -> str:
    if not refused.rows:
        return _section("Refused rows", "No row has been refused.", "")
    share = refused.rows / (refused.rows + accepted)
    intro = f"{_many(refused.rows, 'row')}, {share:.3%} of all that came in; they are kept."
    most = refused.reasons[0][1]
    rows = [
        [escape(reason), f"{count:,}", meter(count, most, kind="warn"), escape(example)]
        for reason, count, _, _, example in refused.reasons
    ]
    return _section(
        "Refused rows", intro, _table(("Reason", ">Rows", "+", "Such as"), rows, wrap=0)
    )


def _restated(restated: Restated) -> str:
    if not restated.fields:
        return _section("Restatements", "No later delivery has changed a published value.", "")
    intro = f"{_many(restated.count, 'value')} changed by a later delivery."
    most = restated.fields[0][1]
    rows = [
        [name, f"{count:,}", meter(count, most), _percent(median), _percent(largest)]
        for name, count, median, largest in restated.fields
    ]
    months = [
        (
            month,
            sum(counts.get(name, 0) for name in _PRICE_FIELDS),
            sum(count for name, count in counts.items() if name not in _PRICE_FIELDS),
        )
        for month, counts in restated.months
    ]
    figure = (
        f"<figure><figcaption>By month of receipt: prices dark, other values light</figcaption>"
        f"{month_columns(months)}</figure>"
    )
    table = _table(("Field", ">Values", "+", ">Median change", ">Largest"), rows)
    return _section("Restatements", intro, f"{table}<p></p>{figure}")


def _tables(tables: Sequence[TableSize]) -> str:
    if not tables:
        return _section("Tables", "There are no tables yet.", "")
    most = max(table.total_bytes for table in tables)
    rows = []
    for table in tables:
        years = sorted(table.size_bytes)
        span = f"{years[0]}" if len(years) == 1 else f"{years[0]} to {years[-1]}"
        each = f"{table.total_bytes / table.rows:.1f} B" if table.rows else ""
        count = f"{table.rows:,}" if table.rows is not None else ""
        size = size_text(table.total_bytes)
        meter_cell = meter(table.total_bytes, most)
        rows.append([escape(table.table), span, count, each, size, meter_cell])
    largest = max(
        ((size, table.table, year) for table in tables for year, size in table.size_bytes.items())
    )
    intro = (
        "Parquet under `silver/`, one file for each table and year; the largest,"
        f" {largest[1]} of {largest[2]}, has {size_text(largest[0])}."
    )
    head = ("Table", "Years", ">Rows", ">Each", ">Size", "+")
    return _section("Tables", intro, _table(head, rows))


def _runs(runs: Sequence[RunFact]) -> str:
    if not runs:
        return _section("Runs", "No job has run yet.", "")
    shown = runs[:_RUNS_SHOWN]
    failed = sum(1 for run in runs if run.exit_code != 0)
    intro = f"{_many(len(runs), 'run')} on record, {failed or 'none'} of them failed. The newest:"
    most = max(run.duration_s or 0.0 for run in shown)
    rows = [
        [
            escape(run.job),
            f"{run.started_at:%Y-%m-%d %H:%M}",
            f"{run.duration_s:,.1f} s" if run.duration_s is not None else "did not end",
            meter(run.duration_s or 0.0, most, kind="" if run.exit_code == 0 else "warn"),
            _outcome(run),
        ]
        for run in shown
    ]
    table = _table(("Job", "Started, UTC", ">Took", "+", "What it did"), rows, wrap=4)
    return _section("Runs", intro, table)


def _outcome(run: RunFact) -> str:
    if run.exit_code == 0 or run.exit_code is None:
        return f'<span class="fine">{escape(run.told)}</span>'
    return f'<span class="flag">exit {run.exit_code}: {escape(run.told)}</span>'


def _section(title: str, intro: str, body: str) -> str:
    """Return a section; in the intro, what stands between backticks is code."""
    text = re.sub("`([^`]+)`", r"<code>\1</code>", escape(intro))
    return f"<section><h2>{escape(title)}</h2><p>{text}</p>{body}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, wrap: int = -1) -> str:
    """Return a table of markup.

    Args:
        head: Column titles; ``>`` before one sets numbers to the right, ``+`` is a meter.
        rows: Cells as markup.
        wrap: The column whose text may break into lines.
    """
    kinds = [
        "n" if name.startswith(">") else "grow" if name == "+" else "wrap" if n == wrap else "nw"
        for n, name in enumerate(head)
    ]
    titles = "".join(
        f'<th class="{kind}">{escape(name.lstrip(">+"))}</th>'
        for kind, name in zip(kinds, head, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _some(names: Sequence[str], most: int) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")


def _percent(value: float | None) -> str:
    if value is None:
        return ""
    if 0 < value < 0.00005:
        return "&lt; 0.01%"
    return f"{value:.2%}" if value < 10 else f"×{value + 1:,.0f}"
