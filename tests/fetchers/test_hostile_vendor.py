"""What a vendor can do that lies, or is not the vendor: nobody gets the key, nothing is a bug."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from datetime import date
from typing import Any

import polars as pl
import pytest

from batch.core.errors import DataRefused, ExitCode, OhlcvError
from batch.core.sessions import Calendar
from batch.storage.local import LocalStore
from fetchers.errors import VendorDenied, VendorRefused, VendorUnavailable
from fetchers.reference import fetch_reference
from fetchers.request import SessionRange
from simulation.vendor_answers import Answer
from simulation.vendor_market import SyntheticMarket
from simulation.vendor_server import Fault, FaultKind, VendorServer
from tests.fetchers.support import FRIDAY, KEY, Vendor, new_york, vendor

LISTS = "/v3/reference/"
SPLITS = f"{LISTS}splits"
ONLY_FRIDAY = SessionRange(FRIDAY, FRIDAY)

URL_ENCODED = "".join(f"%{ord(at):02x}" for at in KEY)
JSON_ESCAPED = "".join(f"\\u{ord(at):04X}" for at in KEY)
IN_BASE64 = base64.b64encode(KEY.encode()).decode()


@pytest.fixture
def market(calendar: Calendar) -> SyntheticMarket:
    return SyntheticMarket(symbols=5, first=date(2025, 1, 2), seed=3, calendar=calendar)


@pytest.fixture
def polygon(calendar: Calendar, market: SyntheticMarket) -> Iterator[Vendor]:
    with vendor(calendar, new_york(FRIDAY, 16, 21), market=market, budget_s=0) as running:
        yield running


@pytest.fixture
def thief(calendar: Calendar, market: SyntheticMarket) -> Iterator[tuple[VendorServer, str]]:
    """Another host, which keeps what it is asked, and its address."""
    server = VendorServer(market, calendar)
    with server.running() as url:
        yield server, url.removeprefix("http://")


def odd(document: Any, on: str = "", **options: Any) -> Fault:
    """Answer requests with a document, or with bytes as they are."""
    answer = Answer(200, document) if isinstance(document, bytes) else Answer.of(document)
    return Fault(FaultKind.ODD, on=on, answer=answer, **options)


def page(**fields: Any) -> dict[str, Any]:
    return {"status": "OK", "results": [], **fields}


def grouped(*results: Any) -> dict[str, Any]:
    return {"status": "OK", "adjusted": False, "results": list(results)}


@pytest.mark.parametrize(
    "next_url",
    [
        "http://{thief}/v3/reference/splits",
        "https://api.polygon.io@{thief}/v3/reference/splits",
        "//{thief}/v3/reference/splits",
        "https://api.polygon.io:8443/v3/reference/splits",
        "ftp://api.polygon.io/v3/reference/splits",
        "http://api.polygon.io.example/v3/reference/splits",
    ],
)
def test_a_page_on_another_host_is_refused_and_named(
    polygon: Vendor, thief: tuple[VendorServer, str], next_url: str
) -> None:
    server, host = thief
    polygon.stub.faults.append(odd(page(next_url=next_url.format(thief=host)), SPLITS))

    with pytest.raises(VendorRefused, match=f"Polygon {SPLITS}: the next page is at") as failure:
        list(polygon.client.splits(None))

    expected = host if "thief" in next_url else next_url.split("/")[2]
    assert expected in str(failure.value)
    assert server.asked == []
    assert len(polygon.stub.asked) == 1


@pytest.mark.parametrize("appended", ["@{thief}/v3/reference/splits", "@{thief}", "{digit}/v3"])
def test_what_appended_to_the_base_would_be_another_host_never_gets_the_key(
    calendar: Calendar,
    polygon: Vendor,
    thief: tuple[VendorServer, str],
    appended: str,
) -> None:
    server, host = thief
    next_url = appended.format(thief=host, digit=1)
    polygon.stub.faults.append(odd(page(next_url=next_url), SPLITS, times=1))

    with pytest.raises(VendorRefused):
        list(polygon.client.splits(None))

    assert server.asked == []
    assert len(polygon.stub.asked) == 2  # it is a path of the vendor's own host


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    polygon: Vendor, thief: tuple[VendorServer, str], status: int
) -> None:
    server, host = thief
    moved = Answer(status, b"", {"Location": f"http://{host}/v3/reference/splits"})
    polygon.stub.faults.append(Fault(FaultKind.ODD, answer=moved))

    with pytest.raises(VendorRefused, match=f"status {status} leads to 127.0.0.1"):
        list(polygon.client.splits(None))

    assert server.asked == []


@pytest.mark.parametrize("cursors", ["a", "ab"], ids=["itself", "a circle of two"])
def test_a_page_seen_before_ends_the_list(polygon: Vendor, cursors: str) -> None:
    polygon.stub.faults += [
        odd(page(next_url=f"{SPLITS}?cursor={cursor}"), SPLITS, times=1) for cursor in cursors * 3
    ]

    with pytest.raises(VendorRefused, match="leads back to one already seen"):
        list(polygon.client.splits(None))

    assert len(polygon.stub.asked) == 1 + len(cursors)


def test_a_list_whose_first_page_names_itself_is_requested_once(polygon: Vendor) -> None:
    first = f"{SPLITS}?limit=1000&sort=execution_date&order=asc"
    polygon.stub.faults.append(odd(page(next_url=first), SPLITS))

    with pytest.raises(VendorRefused, match="leads back to one already seen"):
        list(polygon.client.splits(None))

    assert polygon.stub.asked == [first]


def test_a_list_without_end_ends(polygon: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchers.polygon.client._PAGE", 1)
    monkeypatch.setattr("fetchers.polygon.client._MOST_PAGES", 3)

    with pytest.raises(VendorRefused, match="goes on after 3 pages"):
        polygon.client.tickers(active=True)

    assert len(polygon.stub.asked) == 3


@pytest.mark.parametrize(
    "next_url", [None, 5, ["/v3"], {}, "", "http://[", "http://x:port/", "http://\ud800/"]
)
def test_a_next_url_that_is_no_address_is_refused(polygon: Vendor, next_url: Any) -> None:
    polygon.stub.faults.append(odd(page(next_url=next_url), SPLITS))

    with pytest.raises(VendorRefused, match=f"Polygon {SPLITS}: next_url is"):
        list(polygon.client.splits(None))


@pytest.mark.parametrize("kind", [FaultKind.DRIP, FaultKind.DRIP_HEADERS])
def test_an_answer_that_comes_drop_by_drop_has_a_deadline(
    calendar: Calendar, market: SyntheticMarket, kind: FaultKind
) -> None:
    now = new_york(FRIDAY, 16, 21)
    with vendor(calendar, now, market=market, budget_s=0, timeout_s=30, answer_s=0.3) as polygon:
        polygon.stub.faults.append(Fault(kind, seconds=0.05))

        with pytest.raises(VendorUnavailable, match=r"no whole answer within 0\.3 s"):
            polygon.client.tickers(active=True)


def test_an_answer_that_unpacks_to_too_much_is_refused_at_once(
    calendar: Calendar, market: SyntheticMarket
) -> None:
    with vendor(calendar, new_york(FRIDAY, 16, 21), market=market, timeout_s=60) as polygon:
        polygon.stub.faults.append(Fault(FaultKind.BOMB))

        with pytest.raises(VendorRefused, match=f"Polygon {SPLITS}: .* more than 32 MiB unpacked"):
            list(polygon.client.splits(None))

    assert len(polygon.stub.asked) == 1


BAR = {"T": "AA", "o": 1, "h": 2, "l": 1, "c": 2, "v": 10}

ODD_ROWS = [
    "a string",
    None,
    [1, 2],
    {**BAR, "T": "A\ud800"},
    {**BAR, "T": ["AA"]},
    {**BAR, "T": 7},
    {**BAR, "T": "A" * 5000},
    {**BAR, "T": "\x1b[2J"},
    {**BAR, "o": float("nan")},
    {**BAR, "o": True},
    {**BAR, "o": "\ud800"},
    {**BAR, "v": 10**400},
    {**BAR, "v": {"v": [1]}},
]


@pytest.mark.parametrize("row", ODD_ROWS, ids=lambda row: ascii(row)[:40])
def test_an_odd_row_is_kept_as_refused_and_the_others_go_on(
    polygon: Vendor, lake: LocalStore, row: Any
) -> None:
    polygon.stub.faults.append(odd(grouped({**BAR, "T": "GOOD"}, row)))

    fetched = polygon.fetch(lake, ONLY_FRIDAY)

    assert (fetched.rows, fetched.refused_rows) == (1, 1)
    assert "1 of 2 rows refused" in fetched.problems[0]
    (rejected,) = lake.root.glob("bronze/rejected/**/*.parquet")
    assert pl.read_parquet(rejected)["reason"].null_count() == 0


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 100_000,
        b'{"results": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        {"status": "x" * 5000},
        {"status": ["OK"]},
        {**grouped(), "results": "all of them"},
        {**grouped(), "results": 5},
        {**grouped(BAR), "adjusted": "true"},
        [],
        None,
    ],
    ids=lambda document: ascii(document)[:40],
)
def test_an_odd_answer_about_a_session_is_refused(
    polygon: Vendor, lake: LocalStore, document: Any
) -> None:
    polygon.stub.faults.append(odd(document))

    fetched = polygon.fetch(lake, ONLY_FRIDAY)

    assert len(fetched.problems) == 1
    assert fetched.problems[0].startswith("Polygon")
    assert len(fetched.problems[0]) < 400
    assert list(lake.list("bronze/")) == []


@pytest.mark.parametrize(
    "document",
    [
        b'{"status": "OK", "resultsCount": ' + b"9" * 5000 + b"}",
        b'{"status": "OK", "results": ["\xff"]}',
    ],
    ids=["endless number", "not UTF-8"],
)
def test_what_is_not_json_to_everybody_is_no_answer(
    polygon: Vendor, lake: LocalStore, document: bytes
) -> None:
    polygon.stub.faults.append(odd(document))

    with pytest.raises(VendorUnavailable, match="that are not JSON"):
        polygon.fetch(lake, ONLY_FRIDAY)


ODD_REFERENCE = [
    (LISTS, page(results="text")),
    (LISTS, page(results=5)),
    (LISTS, page(results=["text"])),
    (LISTS, page(results=[None])),
    (LISTS, page(results=[[1]])),
    (LISTS, page(count={"of": "all"})),
    (LISTS, b"[" * 100_000),
    ("/v3/reference/tickers/", page(results=None)),
    ("/v3/reference/tickers/", page(results="none")),
    ("/v3/reference/tickers/", page(results=["none"])),
    ("/marketstatus/", ["closed"]),
    ("/marketstatus/", [None]),
    ("/marketstatus/", [{"date": ["2025-01-20"]}]),
    ("/marketstatus/", [{"date": "x" * 5000}]),
    ("/marketstatus/", [{"date": "2025-07-03", "status": "early-close", "close": "at one"}]),
    ("/marketstatus/", [{"date": "2025-07-03", "status": "early-close", "close": 13}]),
    ("/marketstatus/", [{"date": "2025-07-03", "status": "early-close", "close": "2025-07-03"}]),
    (
        "/marketstatus/",
        [{"date": "2025-07-03", "status": "early-close", "close": "0001-01-01T00:00:00+12:00"}],
    ),
]


@pytest.mark.parametrize(("on", "document"), ODD_REFERENCE, ids=lambda it: ascii(it)[:60])
def test_odd_reference_answers_end_the_part_and_name_the_request(
    polygon: Vendor, lake: LocalStore, on: str, document: Any
) -> None:
    polygon.stub.faults.append(odd(document, on))

    error = fetch_reference(polygon.context(lake), polygon.client).error

    assert isinstance(error, DataRefused | VendorUnavailable)
    assert str(error).startswith("Polygon")
    assert len(str(error)) < 600


ODD_TICKER = {
    "ticker": "ODD",
    "name": "\ud800",
    "market": ["stocks"],
    "active": "yes",
    "cik": True,
    "type": {},
    "delisted_utc": 10**30,
    "composite_figi": float("nan"),
}

ODD_FIELDS = [
    (f"{LISTS}tickers", page(results=[ODD_TICKER, {"ticker": "\ud800"}, {}])),
    (
        f"{LISTS}tickers/",
        page(results={"market_cap": 10**400, "sic_code": ["\ud800"], "list_date": []}),
    ),
    (
        f"{LISTS}tickers/",
        page(results={"market_cap": float("nan"), "sic_description": "\ud800"}),
    ),
    (
        SPLITS,
        page(
            results=[
                {"ticker": "\ud800", "execution_date": "2025-01-06", "split_from": 1, "split_to": 2}
            ]
        ),
    ),
    (
        SPLITS,
        page(
            results=[
                {
                    "ticker": "A",
                    "execution_date": ["x"],
                    "split_from": 10**400,
                    "split_to": "\ud800",
                }
            ]
        ),
    ),
    (
        f"{LISTS}dividends",
        page(
            results=[
                {"ticker": "A", "ex_dividend_date": "2025-01-06", "cash_amount": float("nan")},
                {"ticker": "A", "ex_dividend_date": "2025-01-06", "cash_amount": 10**400},
                {
                    "ticker": "A",
                    "ex_dividend_date": "2025-01-06",
                    "cash_amount": 1,
                    "currency": "\ud800",
                    "frequency": 10**30,
                    "pay_date": 5,
                },
            ]
        ),
    ),
    ("/marketstatus/", [{"date": "2025-01-22", "exchange": "NYSE", "name": "\ud800" * 5000}]),
    ("/marketstatus/", [{"date": "9999-12-31", "exchange": "NYSE", "name": "The last day"}]),
]


@pytest.mark.parametrize(("on", "document"), ODD_FIELDS, ids=lambda it: ascii(it)[:60])
def test_odd_fields_of_reference_data_become_null_or_leave_their_row_out(
    polygon: Vendor, lake: LocalStore, on: str, document: Any
) -> None:
    polygon.stub.faults.append(odd(document, on))

    fetched = fetch_reference(polygon.context(lake), polygon.client)

    assert fetched.error is None
    assert all(warning.isprintable() and len(warning) < 500 for warning in fetched.warnings)


ECHOES = pytest.mark.parametrize(
    "echo",
    [KEY, URL_ENCODED, JSON_ESCAPED, IN_BASE64, "x" * 190 + KEY, f"Bearer {KEY}"],
    ids=["plain", "URL-encoded", "escaped", "base64", "where it is cut", "header"],
)


def everything(lake: LocalStore, *texts: object) -> str:
    """Return all that a run left, in one text."""
    files = [path for path in lake.root.rglob("*") if path.is_file()]
    content = [
        str(pl.read_parquet(path).to_dicts())
        if path.read_bytes()[:4] == b"PAR1"
        else path.read_text()
        for path in files
    ]
    return "\n".join([*content, *map(str, [*files, *texts])])


def require_no_key(text: str) -> None:
    """Fail where any form of the key, or most of it, is in a text."""
    for form in (KEY, KEY[:12], KEY[-12:], URL_ENCODED, URL_ENCODED[:30], IN_BASE64.rstrip("=")):
        assert form not in text


@ECHOES
@pytest.mark.parametrize("status", [200, 400, 403, 404, 429])
def test_an_error_that_repeats_the_key_is_shown_without_it(
    polygon: Vendor, lake: LocalStore, caplog: pytest.LogCaptureFixture, echo: str, status: int
) -> None:
    logging.getLogger("ohlcv").propagate = True
    body = f'{{"status": "{echo}", "message": "no access with {echo}"}}'.encode()
    kind = {"Content-Type": f"text/{KEY}"}
    polygon.stub.faults.append(Fault(FaultKind.ODD, answer=Answer(status, body, kind)))
    with caplog.at_level(logging.DEBUG, "ohlcv"):
        fetched = polygon.try_fetch(lake, ONLY_FRIDAY)

    errors = [fetched.error] if fetched.error else []
    traces = ["".join(traceback.format_exception(error)) for error in errors]
    assert errors or fetched.problems
    require_no_key(everything(lake, fetched, *traces, caplog.text, polygon.progress.warnings))


@ECHOES
def test_a_key_in_rows_and_holidays_reaches_no_table_and_no_message(
    polygon: Vendor, lake: LocalStore, echo: str
) -> None:
    bars = json.dumps(grouped(BAR, {**BAR, "T": "ECHO"})).replace("ECHO", echo).encode()
    holiday = {"date": "2025-01-22", "exchange": "NYSE", "name": "ECHO", "status": "closed"}
    listed = page(results=[{"ticker": "AA", "name": "ECHO", "active": True}])
    lost = page(next_url="https://ECHO.example/ECHO?apiKey=ECHO")
    for on, document in (
        ("/grouped/", bars),
        ("/marketstatus/", json.dumps([holiday]).replace("ECHO", echo).encode()),
        ("/tickers", json.dumps(listed).replace("ECHO", echo).encode()),
        ("/dividends", json.dumps(lost).replace("ECHO", echo).encode()),
    ):
        polygon.stub.faults.append(odd(document, on))

    fetched = polygon.fetch(lake, ONLY_FRIDAY)
    reference = fetch_reference(polygon.context(lake), polygon.client)

    assert fetched.rows + fetched.refused_rows == 2
    assert len(reference.warnings) == 2
    assert isinstance(reference.error, OhlcvError)
    require_no_key(everything(lake, fetched, reference, polygon.progress.warnings))


def test_an_answer_that_cannot_be_read_as_http_shows_no_key(
    calendar: Calendar,
    market: SyntheticMarket,
    lake: LocalStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Answer(429, b"", {"X-Odd": f"1\r\n{KEY}\r\nX-More: {KEY}"})
    now = new_york(FRIDAY, 16, 21)
    with vendor(calendar, now, market=market, budget_s=0, timeout_s=0.2) as polygon:
        polygon.stub.faults.append(Fault(FaultKind.ODD, answer=broken))

        with caplog.at_level(logging.INFO), pytest.raises(VendorUnavailable) as failure:
            polygon.fetch(lake, ONLY_FRIDAY)

    require_no_key("".join(traceback.format_exception(failure.value)) + caplog.text)


RETRY_AFTER = [
    "0", "-5", "-1e9", "9" * 5000, "soon", "\xff", "",
    "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 99999999999 07:28:00 GMT",
    "Wed, 21 Oct 0000 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
]  # fmt: skip


@pytest.mark.parametrize("value", RETRY_AFTER, ids=lambda value: ascii(value)[:30])
def test_an_odd_retry_after_never_shortens_the_usual_pause_nor_outlasts_the_budget(
    polygon: Vendor, lake: LocalStore, value: str
) -> None:
    http = polygon.client._http
    http.retry_s, http.first_pause_s, http.longest_pause_s = 0.15, 0.06, 1.0
    throttled = Answer(429, b"{}", {"Retry-After": value})
    polygon.stub.faults.append(Fault(FaultKind.ODD, answer=throttled))

    with pytest.raises(VendorUnavailable, match="status 429") as failure:
        polygon.fetch(lake, ONLY_FRIDAY)

    assert failure.value.exit_code == ExitCode.RETRY
    assert len(polygon.stub.asked) <= 4


def test_a_denied_key_stays_denied_whatever_the_answer_is(
    polygon: Vendor, lake: LocalStore
) -> None:
    polygon.stub.faults.append(Fault(FaultKind.ODD, answer=Answer(403, b"[" * 100_000)))

    with pytest.raises(VendorDenied) as failure:
        polygon.fetch(lake, ONLY_FRIDAY)

    assert len(str(failure.value)) < 600
