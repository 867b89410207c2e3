"""The lake's rules once more, in SQL: written against the rules, not against the jobs.

The queries read these relations: ``sessions`` (no, date, closes_at), ``daily`` (the daily bars),
``splits`` (symbol, date, ratio; those that bars carry), ``splits_on_record`` (all of them),
``split_rows`` (made by :data:`SPLIT_ROWS`), ``names`` (of all deliveries: key, date,
received_at), ``before_close`` and ``newest`` (made by :data:`BEFORE_CLOSE` and :data:`NEWEST`),
``delivered`` (rows of a year's deliveries with their ``filename``), ``arrivals`` (what their
names say, and ``arrival``, their order of precedence), ``received`` (made by :data:`RECEIVED`),
``rebased`` (made by :data:`REBASED`), ``partial_sessions`` (of which a delivery is gone) and
``found`` (the partition that is compared).
"""

from __future__ import annotations

from collections.abc import Mapping

from batch.core import schema

_EXACT = 0.0
_SUMMED = 1e-12
_SCALED = 1e-9

MACROS = """
CREATE OR REPLACE MACRO differs(expected, found, tolerance) AS
    CASE WHEN expected IS NULL OR found IS NULL THEN (expected IS NULL) <> (found IS NULL)
         WHEN expected = found THEN false
         WHEN NOT isfinite(CAST(expected - found AS DOUBLE)) THEN true
         ELSE abs(expected - found) > tolerance * greatest(abs(expected), abs(found)) END;
CREATE OR REPLACE MACRO is_rebased(known, found, rebased, allowed) AS
    coalesce(abs(found - rebased) <= allowed AND abs(found - rebased) < abs(found - known), false);
CREATE OR REPLACE MACRO price_is_rebased(known, found, ratio) AS
    ratio <> 1.0 AND is_rebased(known, found, known / ratio, 0.005 * (known / ratio));
CREATE OR REPLACE MACRO volume_is_rebased(known, found, ratio) AS
    ratio <> 1.0 AND is_rebased(known, found, known * ratio, greatest(0.02 * (known * ratio), 100));
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

BEFORE_CLOSE = """
CREATE OR REPLACE TEMP TABLE before_close AS
SELECT key, date FROM names JOIN sessions USING (date) WHERE received_at < closes_at
"""
"""Deliveries that count for nothing: their session had not closed at their receipt."""

NEWEST = """
CREATE OR REPLACE TEMP TABLE newest AS
WITH unclosed AS (
        SELECT date FROM before_close
        EXCEPT SELECT date FROM names ANTI JOIN before_close USING (key)),
     consolidated AS (SELECT DISTINCT date FROM daily)
SELECT max(date) AS date FROM consolidated ANTI JOIN unclosed USING (date)
"""
"""The newest session with daily bars that can have been received."""

RECEIVED = f"""
CREATE OR REPLACE TEMP VIEW received AS
SELECT {", ".join(f'"{name}"' for name in schema.DELIVERY.names)}, arrival
FROM delivered JOIN arrivals USING (filename) LEFT JOIN sessions USING (date)
WHERE closes_at IS NULL OR closes_at <= received_at
"""
"""The rows of a year's deliveries that count."""

_STANDING = ", ".join(schema.RESTATED_FIELDS)

_OTHER = {
    **{name: f"price_is_rebased(known_{name}, {name}, ratio)" for name in (*schema.PRICES, "vwap")},
    "volume": "volume_is_rebased(known_volume, volume, ratio)",
    "trades": "false",
}

_TAKEN = {
    name: f"CASE WHEN {name}_is_other THEN known_{name} ELSE {name} END" for name in schema.PRICES
}

_KEPT = {
    name: f"{name}_is_other" + (" OR contradicts" if name not in {"volume", "trades"} else "")
    for name in schema.RESTATED_FIELDS
}


def _columns(template: str) -> str:
    return ", ".join(
        template.format(name=name, other=_OTHER[name], kept=_KEPT[name])
        for name in schema.RESTATED_FIELDS
    )


REBASED = f"""
CREATE OR REPLACE TEMP TABLE rebased AS
WITH RECURSIVE last_days AS (
        SELECT arrival, coalesce(
            (SELECT min(date) FROM sessions WHERE closes_at > received_at),
            (SELECT max(date) FROM sessions)) AS last_day
        FROM arrivals),
     split_symbols AS (SELECT DISTINCT symbol FROM splits_on_record),
     repeated AS (
        SELECT symbol, date FROM received SEMI JOIN split_symbols USING (symbol)
        GROUP BY ALL HAVING count(*) > 1),
     ratios AS (
        SELECT received.symbol, received.date, arrival, product(splits.ratio) AS ratio
        FROM received SEMI JOIN repeated USING (symbol, date)
        JOIN last_days USING (arrival)
        JOIN splits_on_record AS splits ON splits.symbol = received.symbol
             AND splits.date > received.date AND splits.date <= last_day
        GROUP BY ALL HAVING product(splits.ratio) <> 1.0),
     steps AS (
        SELECT received.*, coalesce(ratio, 1.0) AS ratio,
               row_number() OVER (PARTITION BY symbol, date ORDER BY arrival) AS nth
        FROM received SEMI JOIN ratios USING (symbol, date)
        LEFT JOIN ratios USING (symbol, date, arrival)),
     standing AS (
        SELECT symbol, date, arrival, nth, {_STANDING},
               {_columns("{name} AS received_{name}, {name} AS known_{name}")},
               {_columns("NULL::VARCHAR AS reason_{name}")}
        FROM steps WHERE nth = 1
        UNION ALL
        SELECT symbol, date, arrival, nth,
               {_columns("CASE WHEN {kept} THEN known_{name} ELSE {name} END AS {name}")},
               {_columns("{name} AS received_{name}, known_{name}")},
               {
    _columns(
        "CASE WHEN {name}_is_other THEN 'other split basis'"
        " WHEN {kept} THEN 'contradicts prices kept' END AS reason_{name}"
    )
}
        FROM (
            SELECT *, {_TAKEN["high"]} < greatest({", ".join(_TAKEN.values())})
                   OR {_TAKEN["low"]} > least({", ".join(_TAKEN.values())}) AS contradicts
            FROM (
                SELECT *, {_columns("{other} AS {name}_is_other")}
                FROM (
                    SELECT steps.*, {_columns("standing.{name} AS known_{name}")}
                    FROM standing JOIN steps ON steps.symbol = standing.symbol
                         AND steps.date = standing.date AND steps.nth = standing.nth + 1))))
SELECT * FROM standing
"""
"""Rows of symbols and sessions that a split may have rescaled, and what stood after each.

One row per symbol, session and ``nth`` delivery of it: every field as it stood afterwards, as
``received_``, as ``known_`` before, and the ``reason_`` why it did not win, if it did not.
"""

GAPS = """
SELECT date FROM sessions ANTI JOIN (SELECT DISTINCT date FROM daily) USING (date)
WHERE date BETWEEN (SELECT min(date) FROM daily) AND (SELECT max(date) FROM daily)
ORDER BY date
"""
"""Sessions between the first and the newest without any daily bar."""

WINDOW_SPAN = """
SELECT min(no), max(no) + $width - 1 FROM sessions WHERE year(date) = $year AND no % $width = 0
"""
"""First and last session number of the windows that start in a year."""

WINDOW_YEARS = """
SELECT DISTINCT year(opening.date) FROM (SELECT DISTINCT date FROM daily) AS days
JOIN sessions USING (date)
JOIN sessions AS opening ON opening.no = window_of(sessions.no, $width) * $width
"""
"""Years in which windows with daily bars start."""

OUT_OF_ORDER = """
SELECT symbol, {day}::VARCHAR FROM (
    SELECT symbol, {day}, {key} AS key, file_row_number,
           lag(symbol) OVER placed AS symbol_before, lag({key}) OVER placed AS key_before
    FROM read_parquet($path, file_row_number = true, hive_partitioning = false)
    WINDOW placed AS (ORDER BY file_row_number))
WHERE symbol < symbol_before OR (symbol = symbol_before AND key <= key_before)
ORDER BY file_row_number
"""
"""Rows that do not come after the one before them: out of order, or a key twice."""

DECODED = """
SELECT bit_xor(hash(decoded)) FROM read_parquet($path, hive_partitioning = false) AS decoded
"""
"""Reads every value of a file."""

_SCALED_ROWS = """
SELECT *, coalesce(product(split_ratio) OVER (
    PARTITION BY symbol, window_no ORDER BY date
    ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 1.0) AS later
FROM numbered
"""
"""``later``: shares at the end of the window for each share on the row's date."""

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

_BAR_VALUES = "open, high, low, close, volume, vwap, trades, sessions, split_ratio"


def _differences(query: str, key: str, tolerances: Mapping[str, float | None]) -> str:
    """Return the query for the rows of ``found`` that are not those of another query.

    A row is identified by its symbol and a date, ``key``. ``tolerances`` is how far apart two
    values of each column may be, relative to the larger one; None compares them as they stand.
    Prices are compared exactly where no split scaled the window.

    The query gives ``symbol``, ``day`` (ISO), the columns that are ``wrong``, and each column
    with the prefix ``e_`` as expected and with ``f_`` as found. Where a row stands on one side
    only, the column that is wrong is ``row``.
    """
    tests = {}
    for name, tolerance in tolerances.items():
        if tolerance is None:
            tests[name] = f'e."{name}" IS DISTINCT FROM f."{name}"'
        else:
            scaled = max(tolerance, _SCALED)
            allowed = f"CASE WHEN e.split_ratio = 1.0 THEN {tolerance} ELSE {scaled} END"
            tests[name] = f'differs(e."{name}", f."{name}", {allowed})'
    one_sided = "e.symbol IS NULL OR f.symbol IS NULL"
    values = ", ".join(f'e."{name}" AS "e_{name}", f."{name}" AS "f_{name}"' for name in tests)
    return f"""
    WITH expected AS ({query})
    SELECT coalesce(e.symbol, f.symbol) AS symbol,
           coalesce(e.{key}, f.{key})::VARCHAR AS day,
           CASE WHEN {one_sided} THEN ['row']
                ELSE list_where({list(tests)}, [{", ".join(tests.values())}]) END AS wrong,
           CASE WHEN e.symbol IS NULL THEN 'none' ELSE 'there' END AS e_row,
           CASE WHEN f.symbol IS NULL THEN 'missing' ELSE 'there' END AS f_row,
           {values}
    FROM expected AS e
    FULL JOIN found AS f ON e.symbol = f.symbol AND e.{key} = f.{key}
    WHERE {one_sided} OR {" OR ".join(tests.values())}
    ORDER BY 1, 2
    """


_BAR_TOLERANCES = {
    "end": None,
    **dict.fromkeys(("open", "high", "low", "close"), _EXACT),
    "volume": _SUMMED,
    "vwap": _SCALED,
    "trades": _EXACT,
    "sessions": _EXACT,
    "complete": None,
    "split_ratio": _SCALED,
}

DAILY_DIFFERENCES = _differences(
    f"""
    SELECT rows.* EXCLUDE (arrival), coalesce(split_rows.ratio, 1.0) AS split_ratio
    FROM (
        SELECT symbol, date, {_STANDING}, arrival
        FROM received ANTI JOIN rebased USING (symbol, date)
        UNION ALL SELECT symbol, date, {_STANDING}, arrival FROM rebased) AS rows
    LEFT JOIN split_rows USING (symbol, date)
    QUALIFY row_number() OVER (PARTITION BY symbol, date ORDER BY arrival DESC) = 1
    """,
    "date",
    {
        **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap", "trades"), _EXACT),
        "split_ratio": _SCALED,
    },
)
"""Compares with what stood after the newest delivery of each symbol and session of a year."""

CALENDAR_DIFFERENCES = _differences(
    f"""
    WITH numbered AS (
            SELECT daily.*, window_of(sessions.no, $width) AS window_no
            FROM daily JOIN sessions USING (date)
            WHERE sessions.no BETWEEN $first_no AND $last_no),
         scaled AS ({_SCALED_ROWS}), folded AS ({_FOLDED})
    SELECT symbol, opening.date AS start, closing.date AS "end", {_BAR_VALUES},
           closing.date <= (SELECT date FROM newest) AS complete
    FROM folded
    JOIN sessions AS opening ON opening.no = window_no * $width
    JOIN sessions AS closing ON closing.no = window_no * $width + $width - 1
    """,
    "start",
    _BAR_TOLERANCES,
)
"""Compares with bars of the windows of ``$width`` sessions from ``$first_no`` to ``$last_no``."""

LISTING_DIFFERENCES = _differences(
    f"""
    WITH numbered AS (
            SELECT *, window_of(row_number() OVER (PARTITION BY symbol ORDER BY date) - 1, $width)
                      AS window_no
            FROM daily),
         scaled AS ({_SCALED_ROWS}), folded AS ({_FOLDED})
    SELECT symbol, first_date AS start, last_date AS "end", {_BAR_VALUES},
           sessions = $width AS complete
    FROM folded WHERE year(first_date) = $year
    """,
    "start",
    _BAR_TOLERANCES,
)
"""Compares with bars of ``$width`` rows of a symbol, from its first, that start in ``$year``."""

_CHANGES = " UNION ALL ".join(
    f"""
    SELECT symbol, date, '{name}' AS field, arrival, "{name}_before"::DOUBLE AS old,
           "{name}"::DOUBLE AS new, NULL::VARCHAR AS reason
    FROM ordered WHERE arrival_before IS NOT NULL AND "{name}_before" IS DISTINCT FROM "{name}"
    UNION ALL
    SELECT symbol, date, '{name}', arrival, known_{name}::DOUBLE, received_{name}::DOUBLE,
           reason_{name}
    FROM rebased ANTI JOIN partial_sessions USING (date)
    WHERE nth > 1 AND known_{name} IS DISTINCT FROM received_{name}
    """
    for name in schema.RESTATED_FIELDS
)

_BEFORE = ", ".join(
    f'lag("{name}") OVER earlier AS "{name}_before"'
    for name in ("arrival", *schema.RESTATED_FIELDS)
)

RESTATEMENT_DIFFERENCES = f"""
WITH repeated AS (
        SELECT symbol, date FROM received ANTI JOIN partial_sessions USING (date)
        ANTI JOIN rebased USING (symbol, date)
        GROUP BY symbol, date HAVING count(*) > 1),
     ordered AS (
        SELECT *, {_BEFORE} FROM received SEMI JOIN repeated USING (symbol, date)
        WINDOW earlier AS (PARTITION BY symbol, date ORDER BY arrival)),
     changes AS ({_CHANGES}),
     expected AS (
        SELECT symbol, date, field, received_at, source, old, new, reason
        FROM changes JOIN arrivals USING (arrival)),
     kept AS (SELECT * FROM found ANTI JOIN partial_sessions USING (date))
SELECT coalesce(e.symbol, f.symbol) AS symbol, coalesce(e.date, f.date)::VARCHAR AS day,
       coalesce(e.field, f.field) AS field,
       CASE WHEN e.symbol IS NULL THEN 'none'
            ELSE concat(e.old, ' to ', e.new, ': ' || e.reason) END AS expected,
       CASE WHEN f.symbol IS NULL THEN 'missing'
            ELSE concat(f.old, ' to ', f.new, ': ' || f.reason) END AS found
FROM expected AS e
FULL JOIN kept AS f USING (symbol, date, field, received_at, source)
WHERE e.symbol IS NULL OR f.symbol IS NULL
   OR e.old IS DISTINCT FROM f.old OR e.new IS DISTINCT FROM f.new
   OR e.reason IS DISTINCT FROM f.reason
ORDER BY 1, 2, 3
"""
"""Compares with every value that differs from what stood before it of the symbol and session.

Sessions of which a delivery is gone are left out: what it changed cannot be computed again.
"""

_PUBLISHED = " UNION ALL ".join(
    f"SELECT symbol, date, '{name}' AS field, \"{name}\"::DOUBLE AS published FROM daily"
    for name in schema.RESTATED_FIELDS
)

RESTATED_LAST = f"""
WITH last AS (
        SELECT symbol, date, field,
               arg_max(struct_pack(new := CASE WHEN reason IS NULL THEN new ELSE old END),
                       (received_at, source)) AS row
        FROM found SEMI JOIN partial_sessions USING (date) GROUP BY symbol, date, field),
     published AS (
        SELECT * FROM ({_PUBLISHED}) SEMI JOIN last USING (symbol, date, field))
SELECT symbol, date::VARCHAR AS day, field, published::VARCHAR AS expected,
       concat('to ', row.new) AS found
FROM last LEFT JOIN published USING (symbol, date, field)
WHERE row.new IS DISTINCT FROM published
ORDER BY 1, 2, 3
"""
"""Compares the last change of a value with the daily bar, where a delivery is gone."""
