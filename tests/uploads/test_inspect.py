"""An upload is staged, held or quarantined, and inspecting it touches nothing else."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import SettingsError
from batch.core.layout import UPLOAD_RULES
from batch.core.sessions import load_calendar
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.storage.store import Expect, Expectation, ObjectStore, StoredObject
from fetchers.files.jail import Limits
from fetchers.files.refusals import Code
from fetchers.uploads import inspect as inspecting
from fetchers.uploads.inspect import inspect
from fetchers.uploads.parts import jail_for_uploads
from fetchers.uploads.receipts import (
    HELD_FOR,
    Receipt,
    Sessions,
    State,
    find_receipt,
    needing_attention,
    release,
    send_back,
)
from fetchers.uploads.rules import read_rules
from orchestration.cli.main import cli
from tests.support.bars import bar
from tests.support.passing import PassingStore
from tests.support.uploads import MadeDrop, ReadHere, csv_of, round_of

DAY, NEXT = date(2025, 1, 14), date(2025, 1, 15)
AT = datetime(2025, 1, 16, 14, tzinfo=UTC)


class Recording(PassingStore):
    """Notes which keys are read, listed, written and deleted."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.read_keys: set[str] = set()
        self.written_keys: set[str] = set()

    def list(self, prefix: str, *, start_after: str = "") -> Any:
        self.read_keys.add(prefix)
        return super().list(prefix, start_after=start_after)

    def head(self, key: str) -> StoredObject | None:
        self.read_keys.add(key)
        return super().head(key)

    def read(self, key: str) -> bytes:
        self.read_keys.add(key)
        return super().read(key)

    def local_copy(self, key: str) -> Any:
        self.read_keys.add(key)
        return super().local_copy(key)

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        self.written_keys.add(key)
        return super().write(key, content, expect=expect)

    def delete(self, keys: Iterable[str]) -> None:
        gone = list(keys)
        self.written_keys.update(gone)
        super().delete(gone)


def inspected(lake: ObjectStore, drop: MadeDrop, key: str, content: bytes) -> Receipt:
    upload = drop.put(key, content, AT)
    return inspect(lake, drop, upload, calendar=load_calendar(), now=AT, jail=ReadHere())


def zip_of(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


SOUND = csv_of(bar("A", DAY), bar("B", DAY))
TEXT = SOUND.decode()
YAHOO = b"Date,Open,High,Low,Close,Adj Close,Volume\n2025-01-14,1,1,1,1,1,1\n"


def test_inspecting_reads_rules_and_receipts_and_writes_receipts_and_the_staging_area_only(
    lake: LocalStore, drop: MadeDrop
) -> None:
    lake.write(UPLOAD_RULES, b"[sources.vendor]\nmax_refused_share = 0.0\n")
    seen = Recording(lake)
    uploads = [
        drop.put("vendor/sound.csv", SOUND, AT),
        drop.put("vendor/page.csv", b"<html></html>", AT),
        drop.put("vendor/splits.csv", b"ticker,execution_date,ratio\nA,2025-01-14,2\n", AT),
        drop.put("vendor/bad.csv", csv_of(bar("A", DAY, volume=-1.0)), AT),
        drop.put(
            "vendor/A.csv",
            b"Date,Open,High,Low,Close,Adj Close,Volume\n2025-01-14,1,1,1,1,1,1\n",
            AT,
        ),
    ]

    calendar = load_calendar()
    receipts = [
        inspect(seen, drop, one, calendar=calendar, now=AT, jail=ReadHere()) for one in uploads
    ]  # type: ignore[arg-type]

    assert {one.state for one in receipts} == {State.STAGED, State.HELD, State.QUARANTINED}
    of_uploads = ("_state/uploads/receipts/", "_state/uploads/staged/")
    assert {key for key in seen.written_keys if not key.startswith(of_uploads)} == set()
    layouts = "_state/uploads/layouts/"
    read = {key for key in seen.read_keys if not key.startswith((*of_uploads, layouts))}
    assert read == {UPLOAD_RULES}


BY_CODE: dict[Code, Callable[[], tuple[str, bytes]]] = {
    Code.EMPTY: lambda: ("x/empty.csv", b""),
    Code.BOMB: lambda: ("x/zeros.csv.gz", gzip.compress(b"a,b\n" + b"0" * 40_000_000, 9)),
    Code.TRUNCATED: lambda: ("x/cut.csv.gz", gzip.compress(SOUND * 9)[:-9]),
    Code.NOT_A_TABLE: lambda: ("x/answer.csv", b'{"error": 1}'),
    Code.NO_COLUMNS: lambda: ("x/columns.csv", b"a,b\n1,2\n"),
    Code.HTML: lambda: ("x/page.csv", b"<!DOCTYPE html><html>log in</html>"),
    Code.EXCEL: lambda: ("x/book.csv", zip_of({"xl/workbook.xml": b"<workbook/>"})),
    Code.ENCRYPTED: lambda: ("x/secret.csv", b"-----BEGIN PGP MESSAGE-----\n"),
    Code.UNKNOWN_ENCODING: lambda: ("x/latin.csv", TEXT.replace("A,", "\xe4,").encode("latin-1")),
    Code.NO_SESSIONS: lambda: (
        "x/minutes.csv",
        b"symbol,time,open,high,low,close,volume\n"
        + b"".join(b"A,2025-01-14 09:3%d,1,1,1,1,1\n" % minute for minute in (0, 1)),
    ),
    Code.ALL_ROWS_REFUSED: lambda: ("x/impossible.csv", csv_of(bar("A", DAY, volume=-1.0))),
    Code.TOO_MANY_REFUSED: lambda: ("x/some.csv", csv_of(bar("A", DAY), bar("B", DAY, low=99.0))),
    Code.AMBIGUOUS_DATES: lambda: (
        "x/dates.csv",
        b"symbol,date,open,high,low,close,volume\nA,03/04/2024,1,1,1,1,1\n",
    ),
    Code.AMBIGUOUS_DECIMALS: lambda: (
        "x/decimals.csv",
        b"symbol;date;open;high;low;close;volume\nA;2025-01-14;1,234;1,234;1,234;1,234;1,000\n",
    ),
    Code.ADJUSTED_PRICES: lambda: (
        "x/A.csv",
        YAHOO,
    ),
}


@pytest.mark.parametrize("code", BY_CODE)
def test_a_real_file_is_refused_or_held_with_each_code(
    code: Code, lake: LocalStore, drop: MadeDrop
) -> None:
    receipt = inspected(lake, drop, *BY_CODE[code]())

    assert receipt.finding
    assert receipt.finding.code is code
    assert receipt.state is (State.HELD if code in HELD_FOR else State.QUARANTINED)
    assert receipt.finding.sentence
    assert receipt.finding.remedy


def test_a_file_that_is_too_large_is_never_opened(
    lake: LocalStore, drop: MadeDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "MOST_BYTES", len(SOUND) - 1)

    receipt = inspected(lake, drop, "x/large.csv", SOUND)

    assert receipt.finding
    assert receipt.finding.code is Code.TOO_LARGE


def test_a_file_is_read_in_the_jail_and_what_takes_too_long_or_too_much_is_an_outcome(
    lake: LocalStore, drop: MadeDrop
) -> None:
    calendar = load_calendar()
    found = {}
    for name, limits in {
        "sound": Limits(),
        "timed_out": Limits(wall_s=0.01, seconds_per_mib=0),
        "parser_crashed": Limits(memory_bytes=1_000_000),
    }.items():
        upload = drop.put(f"x/{name}.csv", SOUND, AT)
        with jail_for_uploads(lake, limits=limits) as jail:
            receipt = inspect(lake, drop, upload, calendar=calendar, now=AT, jail=jail)
        found[name] = receipt.finding.code if receipt.finding else receipt.state

    assert found == {
        "sound": State.STAGED,
        "timed_out": Code.TIMED_OUT,
        "parser_crashed": Code.PARSER_CRASHED,
    }


def test_a_changed_layout_is_held_and_the_released_one_is_the_usual_from_then_on(
    lake: LocalStore, drop: MadeDrop
) -> None:
    other = TEXT.replace("close,volume", "last,vol").encode()
    round_of(lake, drop, [drop.put("v/1.csv", SOUND, AT)], AT)
    later = AT + timedelta(hours=1)
    changed = drop.put("v/2.csv", other, later)
    elsewhere = drop.put("w/2.csv", other, later)

    settled = round_of(lake, drop, [changed, elsewhere], later)

    (held,) = settled.held
    assert held.id == changed.id
    assert held.finding
    assert held.finding.code is Code.LAYOUT_CHANGED
    assert "last" in held.finding.sentence
    release(lake, held.id, now=later)
    assert round_of(lake, drop, [], later).nothing_new[0].id == changed.id
    again = inspected(lake, drop, "v/3.csv", SOUND)
    assert again.state is State.STAGED  # what was released held nothing new: it is not the usual


def test_an_ambiguous_file_is_read_after_its_source_has_a_rule(
    lake: LocalStore, drop: MadeDrop
) -> None:
    held = inspected(lake, drop, "eu feed/dates.csv", BY_CODE[Code.AMBIGUOUS_DATES]()[1])
    with pytest.raises(SettingsError, match=r'date_order = .* under \[sources."eu feed"\]'):
        release(lake, held.id, now=AT)
    lake.write(UPLOAD_RULES, b'[sources."eu feed"]\ndate_order = "month/day/year"\n')

    send_back(lake, held.id, now=AT)
    settled = round_of(lake, drop, drop.uploads, AT)

    (landed,) = settled.landed
    assert landed.attempts == 2
    assert not settled.held
    assert landed.sessions == Sessions(date(2024, 3, 4), date(2024, 3, 4), 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sources.x]\ndecimal = 1", "decimal: no such setting; did you mean decimal_mark"),
        ("[sources.x]\nmax_refused_share = 2", "less than or equal to 1"),
        ("[sources.x]\nadjusted = 'yes'", "adjusted = 'yes'"),
        ("[source.x]\nadjusted = true", "unknown 'source'"),
        ("[sources.x\n", "not TOML"),
    ],
)
def test_wrong_rules_are_an_error_that_names_what_is_wrong(
    text: str, message: str, lake: LocalStore
) -> None:
    lake.write(UPLOAD_RULES, text.encode())

    with pytest.raises(SettingsError, match=r"uploads\.toml") as raised:
        read_rules(lake)

    assert message in str(raised.value)


EVIL = (
    "../../silver/1d/year=2025/data.parquet",
    "\x1b[2J\x1b[31m/red\r\n.csv",
    "\u202egnp.\U0001f4c8/" + "n" * 230 + ".csv",
    "a\udcff\udcfe/not text \udc80.csv",
    '"; drop table/{"code": 1}.csv',
)


def test_names_and_symbols_of_strangers_never_become_keys_and_never_reach_a_terminal(
    lake: LocalStore, drop: MadeDrop, capfd: pytest.CaptureFixture[str]
) -> None:
    symbol = csv_of(bar("A\x1b[2J/../\u202e", DAY))
    contents = itertools.cycle((SOUND, b"<html>", symbol))
    for key in (*EVIL, EVIL[0], EVIL[1]):
        drop.put(key, next(contents), AT)
    round_of(lake, drop, drop.uploads, AT)

    ids = [one.id for one in drop.uploads]
    codes = [
        run_main(cli, ["uploads", *named, "--lake", lake.uri], name="ohlcv")
        for named in ([], ["show", *ids])
    ]

    shown = capfd.readouterr()
    assert codes == [3, 0]
    assert all(one.isprintable() or one == "\n" for one in shown.out + shown.err)
    keys = [item.key for item in lake.list("")]
    one_of = "|".join(ids)
    of_ids = re.compile(
        rf"_state/uploads/(receipts/({one_of})\.json|(layouts/[0-9a-f]+|landing)\.json)"
        rf"|_state/uploads/(kept|gathered)/[a-zA-Z0-9/-]+(\.parquet|\.json)"
        rf"|quarantine/2025-01-16/({one_of})/(object|reason\.json)"
        r"|(bronze|_state)/[a-z]+/date=2025-01-14/[0-9TZ]+-[0-9TZ]+-[a-z0-9.-]+\.parquet"
    )
    assert [one for one in keys if not of_ids.fullmatch(one)] == []
    reasons = [json.loads(lake.read(one)) for one in keys if one.endswith("reason.json")]
    assert {one["file"] for one in reasons} < {one.address for one in drop.uploads}
    assert len(reasons) == 4


def test_a_later_good_version_of_a_file_settles_the_matter(
    lake: LocalStore, drop: MadeDrop
) -> None:
    bad = inspected(lake, drop, "x/a.csv", b"<html>")
    other = inspected(lake, drop, "x/b.csv", b"<html>")
    assert [one.id for one in needing_attention([bad, other])] == [bad.id, other.id]

    good = drop.put("x/a.csv", SOUND, AT + timedelta(hours=1))
    taken = inspect(lake, drop, good, calendar=load_calendar(), now=AT, jail=ReadHere())

    assert [one.id for one in needing_attention([bad, other, taken])] == [other.id]


def test_a_list_of_uploads_needs_a_lake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = LocalStore(tmp_path / "lake")
    missing = run_main(cli, ["uploads", "--lake", lake.uri], name="ohlcv")
    said = capsys.readouterr().err
    lake.write("uploads.toml", b"[sources.x]\nadjusted = true\n")
    prepared = run_main(cli, ["uploads", "--lake", lake.uri], name="ohlcv")

    assert (missing, prepared) == (2, 0)
    assert f"no lake at {lake.uri}" in said
    assert capsys.readouterr().out == "no uploads\n"


def test_an_id_is_found_by_its_first_digits(lake: LocalStore, drop: MadeDrop) -> None:
    receipt = inspected(lake, drop, "x/a.csv", SOUND)

    assert find_receipt(lake, receipt.id[:4].upper()).receipt == receipt
    for digits, message in (("abc", "at least 4"), ("zzzz", "at least 4"), ("0" * 9, "no such")):
        with pytest.raises(SettingsError, match=message):
            find_receipt(lake, digits)


def test_of_a_zip_good_members_land_and_bad_ones_are_listed(
    lake: LocalStore, drop: MadeDrop
) -> None:
    members = {"a.csv": SOUND, "page.csv": b"<html>", "more.csv": csv_of(bar("C", NEXT))}

    settled = round_of(lake, drop, [drop.put("x/all.zip", zip_of(members), AT)], AT)

    (landed,) = settled.landed
    assert [
        (one.name, one.rows, one.finding.code if one.finding else None) for one in landed.parts
    ] == [
        ("a.csv", 2, None),
        ("page.csv", 0, Code.HTML),
        ("more.csv", 1, None),
    ]
    assert landed.deliveries == 2
