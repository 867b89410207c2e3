"""The command line as a user meets it: help, mistakes, completion, terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import click
import pytest

from batch.core.errors import SettingsError
from batch.core.sessions import Calendar
from batch.runtime.command import run_main
from batch.runtime.formats import duration_text, rate_text, wrapped
from batch.runtime.output import Output
from batch.runtime.progress import LOGGER, LoggedProgress
from batch.runtime.run_report import list_run_reports
from batch.runtime.settings import ResamplerSettings
from batch.runtime.tables import folded_table
from batch.storage.local import LocalStore
from orchestration.cli.main import SECTIONS, cli
from tests.support.bars import bar, frame, land_rows, received_after
from tests.support.command_line import MAIN, ROOT, run_ohlcv, warm_python

COMMANDS = [name for section in SECTIONS.values() for name in section]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def in_terminal(
    *arguments: str,
    columns: int = 80,
    folder: Path | None = None,
    interrupt_at: str | None = None,
    **environment: str,
) -> str:
    """Run ``ohlcv`` on a terminal of its own and return all that it shows there.

    Args:
        arguments: Behind ``ohlcv``.
        columns: Width of the terminal.
        folder: Where it is run.
        interrupt_at: Press Ctrl-C once this is shown.
        environment: More of it.
    """
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [*warm_python(), "-c", MAIN, *arguments],
        env={
            **inherited,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": str(columns),
            "TERM": "xterm-256color",
            **environment,
        },
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        shown += part
        if interrupt_at and interrupt_at in shown.decode(errors="ignore"):
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(ours)
    process.wait(timeout=60)
    return shown.decode()


def lines_of(shown: str) -> list[str]:
    """Return the lines as a terminal has them, without colours and movements."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    return re.split(r"[\r\n]+", plain)


@pytest.fixture
def landed(lake: LocalStore, calendar: Calendar) -> LocalStore:
    """A lake with two sessions of two symbols, not yet consolidated."""
    for number in (14000, 14001):
        session = calendar.session_at(number)
        rows = [bar("A", session), bar("NA", session, 20.0)]
        land_rows(lake, rows, calendar, received_at=received_after(session))
    return lake


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_and_shows_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(cli, [name, "--help"], name="ohlcv") == 0

    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert f"ohlcv {name}" in text.partition("Examples:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_one_long_name(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None

    long = [[text for text in option.opts if text.startswith("--")] for option in command.params]

    assert [names for names in long if len(names) > 1] == []


def test_the_first_help_names_every_command_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main(cli, ["--help"], name="ohlcv") == 0

    text = capsys.readouterr().out
    assert [name for name in COMMANDS if not re.search(rf"^  {name} +\S", text, re.M)] == []
    assert "Exit codes: 0 done, 1 bug, 2 usage or settings, 3 data refused, 75" in text
    assert max(map(len, text.splitlines())) <= 80


def test_help_imports_no_command_and_no_table_library() -> None:
    heavy = "polars", "pyarrow", "duckdb", "pandas", "numpy", "boto3", "rich", "pydantic"
    code = (
        "import sys\n"
        "from batch.runtime.command import run_main\n"
        "from orchestration.cli.main import cli\n"
        "run_main(cli, ['--help'], name='ohlcv')\n"
        f"print('loaded', [name for name in {heavy!r} if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.splitlines()[-1] == "loaded []"


def test_a_mistyped_command_is_told_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(cli, ["consolidat"], name="ohlcv") == 2

    assert "Did you mean consolidate?" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_ohlcv(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(cli, ["completion", shell], name="ohlcv") == 0

    assert f"_OHLCV_COMPLETE={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "at", "completed"),
    [
        ("ohlcv cons", 1, "plain,consolidate"),
        ("ohlcv resample --anch", 2, "plain,--anchor"),
        ("ohlcv chart AAPL --interval 2", 4, "plain,21d"),
        ("ohlcv quality --check unrec", 3, "plain,unrecorded_split"),
        ("ohlcv quality --check cov", 3, "plain,coverage_drop"),
    ],
)
def test_commands_and_options_are_completed(typed: str, at: int, completed: str) -> None:
    done = run_ohlcv(_OHLCV_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(at))

    assert done.out.split() == [completed]


def test_intervals_may_be_written_as_their_tables_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OHLCV_INTERVALS", "5d, 8 13d")

    assert ResamplerSettings.read().intervals == (5, 8, 13)


def test_a_wrong_interval_is_one_error_under_the_name_of_its_option() -> None:
    with pytest.raises(SettingsError) as caught:
        ResamplerSettings.read(intervals=("week",))

    assert str(caught.value) == "--interval: 'week' is not a number of sessions: use 5 or 5d"


def test_quiet_says_nothing_and_still_does_the_work(landed: LocalStore) -> None:
    done = run_ohlcv("consolidate", "--lake", landed.uri, "--quiet")

    assert (done.code, done.out, done.err) == (0, "", "")
    assert (landed.root / "silver/1d/year=2025/data.parquet").exists()


def test_json_is_all_that_stdout_has(landed: LocalStore) -> None:
    done = run_ohlcv("consolidate", "--lake", landed.uri, "--json")

    assert json.loads(done.out)["deliveries_read"] == 2


def test_a_terminal_gets_a_drawing_within_its_width(landed: LocalStore) -> None:
    shown = in_terminal("consolidate", "--lake", landed.uri)

    lines = lines_of(shown)
    assert COLOUR.search(shown)
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"consolidating .* 1 year +in \d+ s", line) for line in lines)


def test_results_stand_below_the_finished_drawing(landed: LocalStore) -> None:
    lines = lines_of(in_terminal("consolidate", "--lake", landed.uri))

    finished = max(n for n, line in enumerate(lines) if "1 year" in line)
    assert next(line for line in lines[finished + 1 :] if line).split() == [
        "table",
        "year",
        "rows",
        "size",
    ]


def test_a_long_error_wraps_between_words_on_a_terminal(tmp_path: Path) -> None:
    lines = lines_of(in_terminal("consolidate", "--lake", str(tmp_path / "none"), columns=60))

    words = " ".join(" ".join(lines).split())
    assert "make one with `ohlcv import` or `ohlcv demo`" in words
    assert all(len(line) < 60 for line in lines if "/" not in line)


def test_a_long_line_breaks_between_words_under_its_own_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    line = "  2016-03-04  MTW     opened at 4.15 after a close of 16.94: looks like a split"

    first, second = wrapped(line, 22).splitlines()

    assert len(first) < 60
    assert second.startswith(" " * 22)
    assert f"{first} {second.strip()}" == line


@pytest.fixture(scope="module")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake of eight synthetic stocks over two months in it."""
    folder = tmp_path_factory.mktemp("terminal")
    arguments = ["demo", "--symbols", "8", "--first", "2025-01-02", "--last", "2025-03-14"]
    lines = lines_of(in_terminal(*arguments, folder=folder))
    assert max(map(len, lines)) <= 80
    assert any("match a second engine's recomputation" in line for line in lines)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["quality"],
        ["verify"],
        ["report"],
        ["vacuum"],
        ["sql", "select * from bars_5d order by all limit 3"],
        ["chart", "nobody"],
        ["chart", "AAA", "--intervall", "5"],
        ["chart", "AAA", "--start", "01/02/2024"],
        ["sql", "select symbol, close from bars_5d wher close > 1"],
        ["fetch"],
        ["quality", "--check", "none-of-these"],
        ["status", "--lake", "a/lake/that/is/not/there"],
    ],
)
def test_no_line_is_wider_than_a_terminal_of_80_columns(
    arguments: list[str], small_lake: Path
) -> None:
    shown = in_terminal(*arguments, folder=small_lake, POLYGON_API_KEY="", MASSIVE_API_KEY="")

    lines = lines_of(shown)
    assert max(map(len, lines)) <= 80
    assert not shown.startswith(("\r", "\n"))


def test_columns_that_do_not_fit_follow_below_and_a_pipe_gets_them_in_one(
    small_lake: Path,
) -> None:
    query = ["sql", "select * from bars_5d order by all limit 3", "--lake", "lake"]

    shown = lines_of(in_terminal(*query, folder=small_lake))
    piped = run_ohlcv(*query[:3], small_lake / "lake").out.splitlines()

    heads = [line.split() for line in shown if line.startswith("symbol")]
    assert len(heads) == 2
    assert [*heads[0], *heads[1][1:]] == piped[0].split()
    assert len(piped) == 5


def test_ctrl_c_is_answered_above_the_drawing_and_tells_what_to_expect(tmp_path: Path) -> None:
    shown = in_terminal("demo", folder=tmp_path, interrupt_at="delivering")

    lines = lines_of(shown)
    (answer,) = [line for line in lines if "stopping after the current write" in line]
    assert answer == "warning: SIGINT: stopping after the current write; repeat to stop immediately"
    assert max(map(len, lines)) <= 80
    assert "the next run will finish the work" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["status", "--json", "--lake", "nowhere"], 2, "nowhere"),
        (["status", "--json", "--max-age-sessions", "-1"], 2, "--max-age-sessions"),
        (["sql", "select 1", "--json", "--csv", "--lake", "."], 2, "--csv and --json"),
    ],
)
def test_errors_are_json_on_stderr_where_json_was_requested(
    arguments: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(cli, arguments, name="ohlcv") == code

    printed = capsys.readouterr()
    error = json.loads(printed.err)
    assert printed.out == ""
    assert (error["version"], error["exit_code"]) == (1, code)
    assert told in error["error"]


def test_every_line_of_a_json_log_names_the_command_and_its_run(
    landed: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["consolidate", "--lake", landed.uri, "--log-format", "json"]

    assert run_main(cli, arguments, name="ohlcv") == 0

    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.err.splitlines()]
    (report,) = list_run_reports(landed, 2)
    assert len(lines) > 0
    assert {tuple(line) for line in lines} == {("time", "level", "message", "command", "run_id")}
    assert {(line["level"], line["command"]) for line in lines} == {("INFO", "consolidate")}
    assert {line["run_id"] for line in lines} == {report.run_id}
    assert "newest session" in printed.out


@pytest.mark.parametrize(
    ("arguments", "variables", "code"),
    [
        (["--log-format", "json", "--lake", "nowhere"], {}, 2),
        (["--workers", "none"], {"OHLCV_LOG_FORMAT": "json"}, 2),
        (["--colour"], {"OHLCV_LOG_FORMAT": "json"}, 2),
        (["--colour", "--log-format=json"], {"OHLCV_LOG_FORMAT": "text"}, 2),
        (["--debug", "--log-format", "json", "--lake", "nowhere"], {}, 2),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_one_line_of_a_json_log(
    arguments: list[str],
    variables: dict[str, str],
    code: int,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    ended = run_main(cli, ["resample", *arguments, *["--json"] * as_json], name="ohlcv")

    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert ended == line["exit_code"] == code
    assert (line["level"], line.get("command", "resample")) == ("ERROR", "resample")
    assert ("exception" in line) == ("--debug" in arguments)
    if as_json:
        assert (line["version"], line["error"]) == (1, line["message"])


def test_one_of_a_thing_is_written_in_the_singular(
    lake: LocalStore, calendar: Calendar, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = calendar.session_at(14000)
    (tmp_path / f"{session}.csv").write_text(frame([bar("A", session)]).write_csv())
    commands = [
        ["import", str(tmp_path / f"{session}.csv")],
        ["consolidate"],
        ["consolidate"],
        ["resample", "--interval", "5"],
        ["resample", "--interval", "5"],
        ["quality"],
    ]

    codes = [run_main(cli, [*one, "--lake", lake.uri], name="ohlcv") for one in commands]

    printed = capsys.readouterr()
    told = printed.out + printed.err
    assert codes == [0] * len(commands)
    for one in ("1 file: ", "1 delivery read", "1 year up to date", "1 daily bar read"):
        assert one in told
    assert "1 partition up to date" in told
    assert "1 daily bar of 1 symbol checked" in told
    assert re.findall(r"(?<![\d,.])1 (?:daily )?[a-z]+s\b", told) == []


def test_a_usage_error_looks_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(cli, ["chart", "A", "--intervall", "5"], name="ohlcv") == 2

    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("Usage: ohlcv chart")
    assert told[1] == "Try 'ohlcv chart --help' for help."
    assert told[3].startswith("error: No such option '--intervall'.")


def test_no_color_is_heeded_on_a_terminal(landed: LocalStore) -> None:
    shown = in_terminal("consolidate", "--lake", landed.uri, NO_COLOR="1")

    colours = [code for code in COLOUR.findall(shown) if re.search(r"[;\[][349][0-7]", code)]
    assert colours == []
    assert "newest session" in shown


def test_errors_are_red_on_a_terminal_alone(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")

    shown = in_terminal("consolidate", "--lake", missing)
    plain = in_terminal("consolidate", "--lake", missing, NO_COLOR="1")
    piped = run_ohlcv("consolidate", "--lake", missing)

    assert "\x1b[31m\x1b[1merror:\x1b[0m" in shown
    assert not COLOUR.search(plain + piped.err)
    assert piped.err.startswith("error: ")


def test_a_table_fits_80_columns_with_measures_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        ("1d", 1_290_819, "18.1 MB", date(2025, 1, 2), "a long story " * 9),
        ("34d", 7, "940 kB", date(2025, 1, 3), None),
    ]

    Output().table(["table", "rows", "size", "day", "story"], rows)

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    first, second = (next(line for line in lines if name in line) for name in ("18.1 MB", "940 kB"))
    assert first.index("18.1 MB") + 7 == second.index("940 kB") + 6
    assert first.index("1,290,819") + 9 == second.index(" 7 ") + 2
    assert first.index("2025-01-02") == second.index("2025-01-03")


def test_a_narrow_table_folds_texts_and_headings_but_no_date_and_no_number() -> None:
    names = ["last runs", "started (UTC)", "exit", "kept for restatements", "error"]
    rows = [
        ("consolidate", "2026-11-29 01:34", 0, 1_234, None),
        ("import", "2026-11-29 01:32:35", 3, 7, "DataRefused: /lake/2015-06-10.csv.gz: empty"),
    ]

    lines = list(folded_table(names, rows, 66))

    assert max(map(len, lines)) <= 66
    assert [line for line in lines if "2026-11-29 01:34" in line and "1,234" in line]
    assert [line for line in lines if "2026-11-29 01:32:35" in line]
    assert "restatements" in lines[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(0.25, "0.2"), (69, "69"), (12_345, "12.3k"), (1_240_000, "1.24M")]
)
def test_rates_have_three_digits(per_s: float, text: str) -> None:
    assert rate_text(per_s) == text


def test_log_lines_tell_rate_and_time_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", True)
    clock = iter([0.0, 0.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = LoggedProgress()

    with caplog.at_level("INFO"):
        progress.begin("folding", 5_000, "rows")
        progress.advance(1_000)

    assert caplog.messages == [
        "folding: 5,000 rows",
        "folding: 1,000 of 5,000 rows, 50/s, 1 min 20 s left",
    ]
