"""What the values of a file mean: decided from evidence or from settings, else refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from batch.core.sessions import load_calendar
from fetchers.files.reader import find_files, read_file
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused

HEAD = "symbol,date,open,high,low,close,volume\n"
SESSIONS = load_calendar().sessions_between(date(2025, 1, 2), date(2025, 6, 30))
BY_DAY = Reading(date_order="day/month/year")
BY_MONTH = Reading(date_order="month/day/year")
COMMAS = Reading(decimal_mark=",")
POINTS = Reading(decimal_mark=".")


def read(
    folder: Path, text: str, reading: Reading = BY_EVIDENCE, name: str = "file.csv"
) -> list[tuple[object, ...]]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (file,) = find_files(str(path))
    return read_file(file, reading).rows.select(HEAD.strip().split(",")).rows()


def refusal(
    folder: Path, text: str, reading: Reading = BY_EVIDENCE, name: str = "file.csv"
) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(folder, text, reading, name)
    return caught.value


def dated(*stamps: str) -> str:
    return HEAD + "".join(f"A,{stamp},10.5,12.5,9.25,11.25,1000\n" for stamp in stamps)


def priced(*closes: str) -> str:
    head = HEAD.replace(",", ";")
    return head + "".join(
        f"A;2025-04-{day:02};{close};{close};{close};{close};1000\n"
        for day, close in enumerate(closes, 7)
    )


@pytest.mark.parametrize(
    ("reading", "day"), [(BY_DAY, date(2024, 4, 3)), (BY_MONTH, date(2024, 3, 4))]
)
def test_the_order_of_a_source_decides_dates_that_read_two_ways(
    tmp_path: Path, reading: Reading, day: date
) -> None:
    assert read(tmp_path, dated("03/04/2024"), reading)[0][1] == day


@pytest.mark.parametrize(
    ("reading", "stamp"),
    [
        (BY_DAY, "03/13/2024"),
        (BY_MONTH, "13/03/2024"),
        (Reading(date_order="year-day-month"), "2024-03-13"),
    ],
)
def test_dates_that_contradict_the_order_of_their_source_are_refused(
    tmp_path: Path, reading: Reading, stamp: str
) -> None:
    found = refusal(tmp_path, dated(stamp), reading)

    assert found.code == Code.AMBIGUOUS_DATES
    assert "date_order" in found.remedy


def test_the_order_of_a_source_says_nothing_of_dates_with_the_year_elsewhere(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, dated("2024-03-04"), BY_DAY)[0][1] == date(2024, 3, 4)


@pytest.mark.parametrize(("reading", "close"), [(COMMAS, 1.234), (POINTS, 1234.0)])
def test_the_mark_of_a_source_decides_numbers_that_read_two_ways(
    tmp_path: Path, reading: Reading, close: float
) -> None:
    assert read(tmp_path, priced("1,234"), reading)[0][5] == close


@pytest.mark.parametrize(("reading", "close"), [(COMMAS, "7.50"), (POINTS, "7,50")])
def test_numbers_that_contradict_the_mark_of_their_source_are_refused(
    tmp_path: Path, reading: Reading, close: str
) -> None:
    found = refusal(tmp_path, priced(close), reading)

    assert found.code == Code.AMBIGUOUS_DECIMALS
    assert "decimal_mark" in found.remedy


@pytest.mark.parametrize("wrong", [{"date_order": "month-day-year"}, {"decimal_mark": "'"}])
def test_an_order_or_a_mark_that_does_not_exist_is_an_error(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        Reading(**wrong)  # type: ignore[arg-type]


def test_yahoo_prices_in_folders_per_symbol_and_beside_symbols_are_refused_too(
    tmp_path: Path,
) -> None:
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n2025-04-08,10,12,9,11,11,1000\n"
    folder, name = tmp_path / "symbol=A", "data.csv"
    named = text.replace("Date", "Ticker,Date").replace("2025-", "A,2025-")

    assert refusal(folder, text, name=name).code == Code.ADJUSTED_PRICES
    assert refusal(tmp_path, named).code == Code.ADJUSTED_PRICES
    assert read(folder, text, Reading(accept_adjusted=True), name)[0][0] == "A"


MARCH = ["20250303", "20250403", "20250503", "20250603", "20250703", "20251003"]
SLASHED = [f"{day.month:02}/{day.day:02}/{day.year}" for day in SESSIONS]
EUROPEAN = [f"{day.day:02}/{day.month:02}/{day.year}" for day in SESSIONS]


@pytest.mark.parametrize(
    ("stamps", "days"),
    [
        (["20250102"], [date(2025, 1, 2)]),
        (["20250304", "20250305"], [date(2025, 3, 4), date(2025, 3, 5)]),
        (["20250110", "20250210", "20250410"], [date(2025, m, 10) for m in (1, 2, 4)]),
        (["20250304", "20250404"], None),  # the 3rd and 4th of April follow one another
        (MARCH, None),
        (["20250503", "20251303"], [date(2025, 3, 5), date(2025, 3, 13)]),
        (["03/04/2024", "04/04/2024", "05/04/2024"], [date(2024, 4, d) for d in (3, 4, 5)]),
        (["02/10/2025", "03/10/2025", "06/10/2025"], [date(2025, 10, d) for d in (2, 3, 6)]),
        (["03/04/2024", "04/04/2024"], None),
        (["12/02/2024", "12/03/2024", "12/04/2024"], [date(2024, 12, d) for d in (2, 3, 4)]),
        (["02/12/2024", "03/12/2024", "04/12/2024", "01/13/2025"], None),
        (["Tue 04/08/2025"], [date(2025, 4, 8)]),
        (["Fri, 04/08/2023"], [date(2023, 8, 4)]),
        (["Sun 04/08/2025"], [None]),
        (["03-Jan-2025"], [date(2025, 1, 3)]),
        (["Jan 3, 2025"], [date(2025, 1, 3)]),
        (["3 January 2025"], [date(2025, 1, 3)]),
        (["Friday, January 3, 2025"], [date(2025, 1, 3)]),
        (["Mon, 03 Jan 2025"], [None]),
        (["03-Jan-25"], [None]),
        (["03-Jun-2025", "03-Jnu-2025"], [date(2025, 6, 3), None]),
        (["4/18/2025 12:00:00 AM"], [date(2025, 4, 18)]),
        (["4/18/2025 4:00 PM"], [date(2025, 4, 18)]),
        (["4/18/2025 13:00 PM"], [None]),
    ],
)
def test_dates_are_decided_by_sessions_and_by_which_follow_one_another(
    tmp_path: Path, stamps: list[str], days: list[date | None] | None
) -> None:
    quoted = [f'"{stamp}"' for stamp in stamps]
    if days is None:
        assert refusal(tmp_path, dated(*quoted)).code == Code.AMBIGUOUS_DATES
    else:
        assert [row[1] for row in read(tmp_path, dated(*quoted))] == days


@pytest.mark.parametrize(
    ("name", "stamp", "day"),
    [
        ("AAPL_2025-02-03.csv", "02/03/2025", date(2025, 2, 3)),
        ("AAPL_20250302.csv", "02/04/2025", None),
        ("prices-2025-03-04.csv", "03/04/2025", date(2025, 3, 4)),
        ("prices-2025-03-05.csv", "03/04/2025", date(2025, 3, 4)),
        ("prices-2025-04-03.csv", "03/04/2025", date(2025, 4, 3)),
        ("prices-2025-12-31.csv", "03/04/2025", None),
        ("prices-2025-04-03.csv", "20250304", None),
        ("prices-2025-03-04.csv", "20250304", date(2025, 3, 4)),
        ("prices-2025-12-31.csv", "20250304", date(2025, 3, 4)),
    ],
)
def test_a_date_in_the_name_of_a_file_is_evidence(
    tmp_path: Path, name: str, stamp: str, day: date | None
) -> None:
    if day is None:
        assert refusal(tmp_path, dated(stamp), name=name).code == Code.AMBIGUOUS_DATES
    else:
        assert read(tmp_path, dated(stamp), name=name)[0][1] == day


@pytest.mark.parametrize("stamps", [SLASHED, EUROPEAN])
def test_a_date_that_is_none_refuses_its_row_alone(tmp_path: Path, stamps: list[str]) -> None:
    found = read(tmp_path, dated("13/45/2025", *stamps))

    assert [row[1] for row in found] == [None, *SESSIONS]


@pytest.mark.parametrize(("stamps", "slip"), [(SLASHED, "18/03/2025"), (EUROPEAN, "03/18/2025")])
def test_one_date_in_the_other_order_refuses_its_row_alone(
    tmp_path: Path, stamps: list[str], slip: str
) -> None:
    found = read(tmp_path, dated(*stamps, slip))

    assert [row[1] for row in found] == [*SESSIONS, None]


@pytest.mark.parametrize(
    ("stamps", "line"),
    [
        ([*SLASHED, "18/03/2025", "19/03/2025"], 2 + len(SESSIONS)),
        ([*SLASHED[:30], *SLASHED[50:], "18/03/2025"], 2 + len(SESSIONS) - 20),
        ([*SLASHED[:12], "18/03/2025"], 14),
    ],
)
def test_two_orders_are_refused_with_a_line_of_each(
    tmp_path: Path, stamps: list[str], line: int
) -> None:
    found = refusal(tmp_path, dated(*stamps))

    assert found.code == Code.AMBIGUOUS_DATES
    assert found.line == line
    assert f"18/03/2025 on line {line}" in found.sentence
    assert "01/13/2025 on line 8" in found.sentence


@pytest.mark.parametrize(
    ("stamps", "days"),
    [
        # Midnight in Berlin, in winter and in summer: Sundays are Mondays.
        (["2025-03-27T23:00Z", "2025-03-30T22:00Z"], [date(2025, 3, 28), date(2025, 3, 31)]),
        (["2025-04-07T22:00Z"], None),
        # Midnight in Tokyo.
        (["2025-04-06T15:00Z", "2025-04-07T15:00Z"], [date(2025, 4, 7), date(2025, 4, 8)]),
        (["2025-04-07T15:00Z"], None),
        # Midnight in India.
        (["2025-04-06 18:30:00+00:00"], [date(2025, 4, 7)]),
        # Fridays: not midnight anywhere, as Saturdays are not sessions.
        (["2025-04-04T22:00Z"], [date(2025, 4, 4)]),
        # New York's closes, early ones too, opens and midnights, in winter and in summer.
        (["2025-03-07T21:00Z", "2025-03-10T20:00Z"], [date(2025, 3, 7), date(2025, 3, 10)]),
        (["2024-11-27T21:00Z", "2024-11-29T18:00Z"], [date(2024, 11, 27), date(2024, 11, 29)]),
        (["2024-11-29T18:00Z"], [date(2024, 11, 29)]),
        (["2025-03-07T14:30Z", "2025-03-10T13:30Z"], [date(2025, 3, 7), date(2025, 3, 10)]),
        (["2025-03-07T05:00Z", "2025-03-10T04:00Z"], [date(2025, 3, 7), date(2025, 3, 10)]),
        (["2025-03-06T21:00Z"], [date(2025, 3, 6)]),
        (["2025-02-09T21:00Z", "2025-02-10T21:00Z"], None),  # midnight in Moscow, or dirty closes
        # Greenwich.
        (["2025-03-07T00:00Z", "2025-03-10T00:00Z"], [date(2025, 3, 7), date(2025, 3, 10)]),
        (["2025-03-28T00:00Z", "2025-03-30T23:00Z"], [date(2025, 3, 28), date(2025, 3, 31)]),
        # Eight in the evening in New York.
        (["2025-03-08T01:00Z", "2025-03-11T00:00Z"], [date(2025, 3, 7), date(2025, 3, 10)]),
        (["2025-03-11T00:30:00Z"], None),
        # No zone: the date as written, unless its Sundays say that it was UTC.
        (["2025-04-07 22:00"], None),
        (["2025-04-04 22:00"], [date(2025, 4, 4)]),
        (["2025-04-06 22:00", "2025-04-07 22:00"], [date(2025, 4, 7), date(2025, 4, 8)]),
        (["2025-04-07 16:00"], [date(2025, 4, 7)]),
        (["2025-04-06 16:00", "2025-04-07 16:00"], None),
        (["2025-04-12 00:00:00"], [date(2025, 4, 12)]),
        (["2025-04-11 00:00:00", "2025-04-12 00:00:00"], None),  # evenings in New York, in UTC
        (["2025-04-08T23:59:59Z"], [date(2025, 4, 8)]),
        (["2025-04-08T00:00:00+09:00"], [date(2025, 4, 8)]),
    ],
)
def test_instants_stand_for_the_date_that_all_of_a_file_agree_on(
    tmp_path: Path, stamps: list[str], days: list[date | None] | None
) -> None:
    parsed = [datetime.fromisoformat(stamp) for stamp in stamps]
    epochs = [str(int(at.timestamp() * 1000)) for at in parsed if at.utcoffset() == timedelta()]

    for written in (stamps, epochs):
        if len(written) < len(stamps):
            continue
        if days is None:
            assert refusal(tmp_path, dated(*written)).code == Code.AMBIGUOUS_DATES
        else:
            assert [row[1] for row in read(tmp_path, dated(*written))] == days


POINTED = [f"{10 + n / 8:.2f}" for n in range(30)]


def closes(found: list[tuple[object, ...]]) -> list[object]:
    return [row[5] for row in found]


@pytest.mark.parametrize("odd", ["1.234,56", "7,50", "1.234.567"])
def test_one_row_with_the_other_mark_is_refused_alone(tmp_path: Path, odd: str) -> None:
    found = closes(read(tmp_path, priced(*POINTED[:12], odd, *POINTED[12:])))

    assert found == [*map(float, POINTED[:12]), None, *map(float, POINTED[12:])]


def test_none_of_the_numbers_of_such_a_row_is_read(tmp_path: Path) -> None:
    text = priced(*POINTED) + "B;2025-04-07;7.125;7.125;7.125;7,50;1.000\n"

    assert read(tmp_path, text)[-1][2:] == (None,) * 5


@pytest.mark.parametrize(
    "prices", [[*POINTED, "7,50", "7,25"], [*POINTED[:5], "7,50"], ["7,50", "7.50"]]
)
def test_two_marks_are_refused_with_a_line_of_each(tmp_path: Path, prices: list[str]) -> None:
    found = refusal(tmp_path, priced(*prices))

    assert found.code == Code.AMBIGUOUS_DECIMALS
    assert "'7,50' on line" in found.sentence
    assert found.line in (2 + prices.index("7,50"), 2 + len(prices) - 1)


@pytest.mark.parametrize("odd", ["n/a", "-", "#N/A", "null", "", "1 23", "7.50%", "(7.50)", "7.5e"])
def test_what_is_no_number_refuses_its_row_alone(tmp_path: Path, odd: str) -> None:
    assert closes(read(tmp_path, priced("7.25", odd, "7.50"))) == [7.25, None, 7.5]


@pytest.mark.parametrize(
    ("close", "value"),
    [
        ("1 234.5", 1234.5),
        ("1\u00a0234,5", 1234.5),
        ("1\u202f234,567", 1234.567),
        ("1\u2009234\u2009567.5", 1234567.5),
        ("1'234.50", 1234.5),
        ("1’234,50", 1234.5),
        ("$1,234.50", 1234.5),
        ("$7.50", 7.5),
        ("1.5e3", 1500.0),
        ("€7.50", None),
        ("7.50 GBX", None),
        ("\u22127.50", None),
        ("1 23.5", None),
        ("12 345 6.5", None),
        ("1'23'456.5", None),
    ],
)
def test_separators_signs_and_units_are_read_right_or_not_at_all(
    tmp_path: Path, close: str, value: float | None
) -> None:
    assert closes(read(tmp_path, priced(close)))[0] == value


def test_volumes_that_may_have_the_other_mark_than_prices_are_refused(tmp_path: Path) -> None:
    text = priced("7.50", "7.25").replace(";1000", ";12.345")

    assert refusal(tmp_path, text).code == Code.AMBIGUOUS_DECIMALS
    assert read(tmp_path, text, POINTS)[0][6] == 12.345
    assert read(tmp_path, text.replace(";12.345", ";12345.678", 1))[1][6] == 12.345


@pytest.mark.parametrize("price", ["19.303", "1.234"])
def test_prices_that_may_have_the_other_mark_than_volumes_are_refused(
    tmp_path: Path, price: str
) -> None:
    text = priced(price).replace(";1000", ";8.803.156")

    assert refusal(tmp_path, text).code == Code.AMBIGUOUS_DECIMALS
    assert closes(read(tmp_path, text.replace(price, "7,25"))) == [7.25]


def headed(head: str, *rows: str) -> str:
    return "\n".join([head, *rows]) + "\n"


@pytest.mark.parametrize(
    ("head", "named"),
    [
        ("symbol,date,open,high,low,close,shares outstanding", "no column for volume"),
        ("symbol,date,open,high,low,close,shares", "no column for volume"),
        ("symbol,date,open,high,low,close,Volume (000s)", "no column for volume"),
        ("symbol,date,open,high,low,close (GBX),volume", "no column for close"),
        ("symbol,date,open,high,low,Adj Close,volume", "no column for close"),
        ("symbol,date,open,high,low,last,volume,bid,ask", "no column for close"),
        ("symbol,date,open,high,low,bid,volume", "no column for close"),
        ("symbol,date,open,high,low,Close,volume,close", "'Close' and 'close'"),
        ("symbol,date,open,high,low,close,volume,close", "two columns for close"),
        ("T,date,open,high,low,close,volume,symbol", "'T' and 'symbol'"),
    ],
)
def test_columns_that_mean_something_else_or_come_twice_are_refused(
    tmp_path: Path, head: str, named: str
) -> None:
    cells = ["A", "2025-04-08", *["9.5"] * (head.count(",") - 1)]

    found = refusal(tmp_path, headed(head, ",".join(cells)))

    assert found.code == Code.NO_COLUMNS
    assert named in found.sentence


def test_a_close_is_preferred_to_the_last_trade_and_a_number_to_no_trades(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text(headed(HEAD.strip() + ",last,n,P/E,PER", "A,2025-04-08,9,9,9,9,9,8,7,6,5.5"))
    (file,) = find_files(str(path))

    rows = read_file(file).rows

    assert rows.select("close", "trades", "reason").row(0) == (9.0, None, None)


def reasons(folder: Path, text: str, reading: Reading = BY_EVIDENCE) -> list[str | None]:
    (folder / "file.csv").write_text(text)
    (file,) = find_files(str(folder / "file.csv"))
    return read_file(file, reading).rows["reason"].to_list()


@pytest.mark.parametrize(
    "interval", ["24h", "1440", "1440min", "D1", "1 d", "", "1_DAY", "Daily", "86400", "1440.0"]
)
@pytest.mark.parametrize("column", ["interval", "PER", "timeframe"])
def test_bars_of_other_intervals_beside_daily_ones_are_refused_not_dropped(
    tmp_path: Path, column: str, interval: str
) -> None:
    day, hour = (f"A,2025-04-0{at},9,9,9,9,9,{per}" for at, per in ((8, interval), (9, "1h")))

    found = reasons(tmp_path, headed(f"{HEAD.strip()},{column}", day, hour))

    assert found == [None, "bar not of one session"]


def test_prices_in_another_currency_are_refused(tmp_path: Path) -> None:
    rows = [f"A,2025-04-08,9,9,9,9,9,{at}" for at in ("USD", "GBX", "", "usd", "EUR")]

    found = reasons(tmp_path, headed(HEAD.strip() + ",currency", *rows))

    assert found == [None, "price not in USD", None, None, "price not in USD"]


def test_weekly_and_monthly_bars_are_refused(tmp_path: Path) -> None:
    weekly, sparse = SESSIONS[::5], [*SESSIONS[::5], SESSIONS[1]]

    assert refusal(tmp_path, dated(*map(str, weekly))).code == Code.NO_SESSIONS
    assert len(read(tmp_path, dated(*map(str, sparse)))) == len(sparse)


TICKERS = [
    "A",
    "BRK.A",
    "BRK-B",
    "BRK/B",
    "BACpK",
    "ABCw",
    "ABC.WS",
    "AAM=",
    "A^B",
    "MET+",
    "ZVZZT",
]
OTHERS = ["AAPL.US", "AAPL US Equity", "NASDAQ:AAPL", "AAPL.O", "VOD.N", "aapl", "^GSPC", "Total"]
STRANGE = "symbol not as US exchanges write it"


def test_symbols_of_us_exchanges_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [f"{symbol},2025-04-08,9,9,9,9,9" for symbol in TICKERS]

    found = reasons(tmp_path, headed(HEAD.strip(), *rows))

    assert found == [None] * len(TICKERS)
    assert [row[0] for row in read(tmp_path, headed(HEAD.strip(), *rows))] == TICKERS


def test_symbols_with_a_vendors_prefix_or_suffix_are_refused(tmp_path: Path) -> None:
    rows = [f"{symbol},2025-04-08,9,9,9,9,9" for symbol in OTHERS]

    found = reasons(tmp_path, headed(HEAD.strip(), *rows))

    assert found == [STRANGE] * len(OTHERS)


def test_stooqs_symbols_lose_their_suffix_and_never_become_the_same_one(tmp_path: Path) -> None:
    head = "<TICKER>,<PER>,<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>"
    symbols = ["AAPL.US", "BRK-B.US", "X-Y.US", "X.Y.US", "CDR", "VOD.UK"]
    text = headed(head, *(f"{symbol},D,20250408,9,9,9,9,9" for symbol in symbols))
    adjusted = Reading(accept_adjusted=True)

    assert reasons(tmp_path, text, adjusted) == [None, None, *[STRANGE] * 4]
    found = [row[0] for row in read(tmp_path, text, adjusted)]
    assert found == ["AAPL", "BRK.B", *symbols[2:]]
