"""The lake's rules once more, in SQL: written against the rules, not against the jobs.

Every query expects these relations: ``sessions`` (no, date), ``daily`` (the daily bars),
``received`` (rows of a year's deliveries with ``arrival``, their order of precedence) and
``splits`` (symbol, date, ratio).
"""

from __future__ import annotations

from collections.abc import Mapping

EXACT = 0.0
SUMMED = 1e-12
SCALED = 1e-9

MACROS = """
CREATE OR REPLACE MACRO differs(expected, found, tolerance) AS
    CASE WHEN expected IS NULL OR found IS NULL THEN (expected IS NULL) <> (found IS NULL)
         ELSE abs(expected - found) > tolerance * greatest(abs(expected), abs(found)) END;
CREATE OR REPLACE MACRO window_of(no, width) AS CAST(floor(no / width) AS BIGINT);
"""

SPLIT_ROWS = """
CREATE OR REPLACE TEMP TABLE split_rows AS
WITH listed AS (SELECT symbol, min(date) AS first_date FROM daily GROUP BY symbol),
     days AS (SELECT symbol, date FROM daily WHERE symbol IN (SELECT symbol FROM splits)),
     placed AS (
        SELECT days.symbol, days.date, splits.ratio
        FROM splits JOIN listed USING (symbol)
        ASOF JOIN days ON splits.symbol = days.symbol AND splits.date <= days.date
        WHERE listed.first_date <= splits.date)
SELECT symbol, date, product(ratio) AS ratio FROM placed GROUP BY ALL
"""
"""Each split on its symbol's next row; one before the first row scales nothing."""

EXPECTED_DAILY = """
SELECT received.* EXCLUDE (arrival), coalesce(split_rows.ratio, 1.0) AS split_ratio
FROM received LEFT JOIN split_rows USING (symbol, date)
QUALIFY row_number() OVER (PARTITION BY symbol, date ORDER BY arrival DESC) = 1
"""
"""The newest delivery's row of each symbol and session."""

_FOLDED = """
SELECT symbol, window_no,
       arg_min(open / later, date) AS open, max(high / later) AS high,
       min(low / later) AS low, arg_max(close, date) AS close,
       sum(volume * later) AS volume,
       CASE WHEN bool_or(vwap IS NULL AND volume > 0) OR sum(volume * later) = 0 THEN NULL
            ELSE sum(CASE WHEN volume > 0 THEN vwap * volume ELSE 0 END) / sum(volume * later)
       END AS vwap,
       CASE WHEN bool_or(trades IS NULL AND volume > 0) OR count(trades) = 0 THEN NULL
            ELSE sum(trades) END AS trades,
       count(*) AS sessions, product(split_ratio) AS split_ratio,
       min(date) AS first_date, max(date) AS last_date
FROM scaled GROUP BY symbol, window_no
"""

_SCALED = """
SELECT *, coalesce(product(split_ratio) OVER (
    PARTITION BY symbol, window_no ORDER BY date
    ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 1.0) AS later
FROM numbered
"""

EXPECTED_CALENDAR_BARS = f"""
WITH numbered AS (
        SELECT daily.*, window_of(sessions.no, $width) AS window_no
        FROM daily JOIN sessions USING (date)
        WHERE sessions.no BETWEEN $first_no AND $last_no),
     scaled AS ({_SCALED}), folded AS ({_FOLDED})
SELECT symbol, opening.date AS start, closing.date AS "end", open, high, low, close, volume,
       vwap, trades, sessions, closing.no <= $newest_no AS complete, split_ratio
FROM folded
JOIN sessions AS opening ON opening.no = window_no * $width
JOIN sessions AS closing ON closing.no = window_no * $width + $width - 1
"""

EXPECTED_LISTING_BARS = f"""
WITH numbered AS (
        SELECT *, window_of(row_number() OVER (PARTITION BY symbol ORDER BY date) - 1, $width)
                  AS window_no
        FROM daily),
     scaled AS ({_SCALED}), folded AS ({_FOLDED})
SELECT symbol, first_date AS start, last_date AS "end", open, high, low, close, volume,
       vwap, trades, sessions, sessions = $width AS complete, split_ratio
FROM folded WHERE first_date BETWEEN $first_date AND $last_date
"""

DAILY_COLUMNS = {
    **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap", "trades"), EXACT),
    "split_ratio": SCALED,
}
BAR_COLUMNS = {
    "end": None,
    **dict.fromkeys(("open", "high", "low", "close"), EXACT),
    "volume": SUMMED,
    "vwap": SCALED,
    "trades": EXACT,
    "sessions": EXACT,
    "complete": None,
    "split_ratio": SCALED,
}
"""Tolerance of each column, relative; None compares as it stands."""


def tolerance_of(tolerance: float | None, split_ratio: float | None) -> float | None:
    """Return how far apart two values of a column may be: wider where a split scaled them."""
    if tolerance is None or split_ratio == 1.0:
        return tolerance
    return max(tolerance, SCALED)


def differences(expected: str, key: str, columns: Mapping[str, float | None]) -> str:
    """Return the query for the rows of ``found`` that are not those of another query.

    Prices are compared exactly where no split scaled the window.

    Args:
        expected: Query for the rows as they should be.
        key: Name of the date that, with the symbol, identifies a row.
        columns: Columns to compare, with their tolerance.
    """
    tests = []
    for name, tolerance in columns.items():
        if tolerance is None:
            tests.append(f'e."{name}" IS DISTINCT FROM f."{name}"')
        else:
            near = (
                f"CASE WHEN e.split_ratio = 1.0 THEN {tolerance} ELSE {max(tolerance, SCALED)} END"
            )
            tests.append(f'differs(e."{name}", f."{name}", {near})')
    shown = ", ".join(f'e."{name}" AS "e_{name}", f."{name}" AS "f_{name}"' for name in columns)
    return f"""
    WITH expected AS ({expected})
    SELECT coalesce(e.symbol, f.symbol) AS symbol, coalesce(e.{key}, f.{key}) AS {key},
           e.symbol IS NOT NULL AS is_expected, f.symbol IS NOT NULL AS is_found, {shown}
    FROM expected AS e FULL JOIN found AS f ON e.symbol = f.symbol AND e.{key} = f.{key}
    WHERE e.symbol IS NULL OR f.symbol IS NULL OR {" OR ".join(tests)}
    ORDER BY 1, 2
    """


OUT_OF_ORDER = """
SELECT symbol, {key} FROM (
    SELECT symbol, {key}, file_row_number,
           lag(symbol) OVER placed AS symbol_before, lag({key}) OVER placed AS key_before
    FROM read_parquet($path, file_row_number = true)
    WINDOW placed AS (ORDER BY file_row_number))
WHERE symbol < symbol_before OR (symbol = symbol_before AND {key} <= key_before)
ORDER BY file_row_number
"""
"""Rows that do not come after the one before them: out of order, or a key twice."""
