"""The stand-in answers the vendor's own client as the vendor does."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
import urllib3
from polygon import RESTClient
from polygon.exceptions import BadResponse

from simulation.vendor_server import Fault, FaultKind
from tests.fetchers.support import FRIDAY, KEY, Vendor, new_york


@pytest.fixture
def rest(polygon: Vendor) -> RESTClient:
    """The vendor's client as it comes."""
    return RESTClient(api_key=KEY, base=polygon.base_url, retries=0)


def document(polygon: Vendor, path: str) -> tuple[int, dict[str, object]]:
    answer = urllib3.request(
        "GET", polygon.base_url + path, headers={"Authorization": f"Bearer {KEY}"}, retries=False
    )
    return answer.status, json.loads(answer.data)


def test_grouped_bars_have_the_vendors_fields(polygon: Vendor) -> None:
    path = f"/v2/aggs/grouped/locale/us/market/stocks/{FRIDAY}?adjusted=false"

    status, found = document(polygon, path)

    results = found["results"]
    assert isinstance(results, list)
    assert status == 200
    assert {"queryCount", "resultsCount", "adjusted", "status", "request_id"} < set(found)
    assert found["adjusted"] is False
    assert found["resultsCount"] == len(results)
    assert all({"T", "o", "h", "l", "c", "v", "t"} <= set(bar) for bar in results)
    assert any("vw" not in bar or "n" not in bar for bar in results)
    assert any(not float(bar["v"]).is_integer() for bar in results)
    close = datetime.fromtimestamp(results[0]["t"] / 1000, tz=UTC)
    assert close == new_york(FRIDAY, 16)


def test_a_day_without_a_session_has_no_results(polygon: Vendor) -> None:
    status, found = document(polygon, "/v2/aggs/grouped/locale/us/market/stocks/2025-01-09")

    assert (status, found["status"], found["resultsCount"]) == (200, "OK", 0)
    assert "results" not in found


def test_a_range_of_one_ticker_goes_on_from_page_to_page(polygon: Vendor, rest: RESTClient) -> None:
    bars = list(rest.list_aggs("NAN", 1, "day", "2025-01-02", "2025-01-17", limit=3))

    sessions = polygon.calendar.sessions_between(date(2025, 1, 2), FRIDAY)
    truth = [
        rows["close"][0]
        for session in sessions
        if (rows := polygon.stub.market.rows(session, polygon.clock()).filter(symbol="NAN")).height
    ]
    assert [bar.close for bar in bars] == truth
    assert datetime.fromtimestamp(bars[0].timestamp / 1000, tz=UTC) == new_york(sessions[0], 0)
    assert len([target for target in polygon.stub.asked if "/range/" in target]) > 3


def test_a_page_names_the_vendors_own_host(polygon: Vendor) -> None:
    _, found = document(polygon, "/v3/reference/tickers?active=true&limit=5")

    assert str(found["next_url"]).startswith("https://api.polygon.io/v3/reference/tickers?cursor=")
    assert found["count"] == 5


def test_some_splits_are_listed_twice_under_two_ids(polygon: Vendor, rest: RESTClient) -> None:
    polygon.clock.now = datetime(2029, 1, 5, tzinfo=UTC)

    splits = list(rest.list_splits(limit=1000))

    keys = [(split.ticker, split.execution_date) for split in splits]
    assert len(set(keys)) < len(keys)
    assert len({split.id for split in splits}) == len(splits)


def test_the_market_status_follows_the_clock(polygon: Vendor, rest: RESTClient) -> None:
    closed = rest.get_market_status()
    polygon.clock.now = new_york(FRIDAY, 11)

    opened = rest.get_market_status()

    assert (closed.market, opened.market) == ("closed", "open")


def test_an_unknown_ticker_has_no_details(rest: RESTClient) -> None:
    with pytest.raises(BadResponse, match="NOT_FOUND"):
        rest.get_ticker_details("NOSUCH")


def test_without_the_right_key_nothing_is_answered(polygon: Vendor) -> None:
    stranger = RESTClient(api_key="stranger", base=polygon.base_url, retries=0)

    with pytest.raises(BadResponse, match="Unknown API Key"):
        stranger.get_market_status()


@pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.CUT_JSON, FaultKind.NO_RESULTS])
def test_the_client_as_it_comes_takes_these_faults_for_an_empty_day(
    polygon: Vendor, rest: RESTClient, kind: FaultKind
) -> None:
    """Why the fetchers check answers themselves."""
    polygon.stub.faults.append(Fault(kind))

    assert rest.get_grouped_daily_aggs(str(FRIDAY), adjusted=False) == []
