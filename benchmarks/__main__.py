"""``python -m benchmarks``: measure everything, or the quick part that guards every change."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import cases, report
from benchmarks.cases import ENGINES, Case
from benchmarks.datasets import QUICK, TEN_YEARS, TWENTY_FIVE_YEARS, delivery_files, tell

CORPUS = Path(os.environ.get("OHLCV_TEST_CORPUS", Path(__file__).parents[2] / "shared" / "data"))


def quick(repeats: int) -> dict[str, Callable[[], Case]]:
    """Cases that guard a change: a minute or two on two cores."""
    engines = ("duckdb_sql", "polars_group_by")
    return {
        "six-intervals-quick": lambda: cases.six_intervals(
            QUICK, engines=engines, repeats=repeats, name="six-intervals-quick", target=None
        ),
        "consolidation": lambda: cases.consolidation(QUICK, repeats=repeats),
        "import-quick": lambda: cases.import_files(
            delivery_files(QUICK, 120),
            repeats=repeats,
            name="import-quick",
            target=None,
            title="import of 120 synthetic deliveries",
        ),
        "start-up": lambda: cases.start_up(repeats=repeats),
    }


def full(repeats: int) -> dict[str, Callable[[], Case]]:
    """Every case of the targets."""
    found: dict[str, Callable[[], Case]] = {
        "six-intervals": lambda: cases.six_intervals(
            TEN_YEARS, engines=ENGINES, repeats=repeats, name="six-intervals", target=1.5
        ),
        "row-number": lambda: cases.row_number_sql(TEN_YEARS),
        "six-intervals-50m": lambda: cases.six_intervals(
            TWENTY_FIVE_YEARS,
            engines=(),
            repeats=repeats,
            name="six-intervals-50m",
            target=1.5,
            limited=True,
        ),
        "single-intervals": lambda: cases.single_intervals(TEN_YEARS, repeats=repeats),
        "consolidation": lambda: cases.consolidation(TEN_YEARS, repeats=repeats),
        "daily-run": lambda: cases.daily_run(TWENTY_FIVE_YEARS, repeats=repeats),
        "reading": lambda: cases.reading(TEN_YEARS, repeats=repeats),
        "start-up": lambda: cases.start_up(repeats=repeats),
    }
    if (CORPUS / "us-stocks-deliveries").is_dir():
        found["import"] = lambda: cases.import_files(
            sorted((CORPUS / "us-stocks-deliveries").iterdir()),
            repeats=repeats,
            name="import",
            target=2,
            title="import of 212 real deliveries",
        )
        found["corpus"] = lambda: cases.corpus_run(CORPUS, repeats=repeats)
    else:
        tell(f"the real deliveries are not at {CORPUS}; set OHLCV_TEST_CORPUS to measure them")
    return found


def main() -> int:
    """Measure, write the report, and judge the quick part by the reference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only what guards a change")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="only these cases")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender")
    parser.add_argument(
        "--keep-reference", action="store_true", help="make the quick ratios the reference"
    )
    given = parser.parse_args()
    chosen = (quick if given.quick else full)(given.repeats)
    unknown = set(given.only or ()) - chosen.keys()
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(chosen)}")
    done: list[Case] = []
    for name, measure_case in chosen.items():
        if given.only and name not in given.only:
            continue
        done.append(measure_case())
        path = report.write(done, name="quick" if given.quick else "full")
    print(path.read_text())
    print(f"written: {path}, the same as .json and .svg")
    if not given.quick or given.only:
        return 0
    if given.keep_reference:
        report.keep_reference(done)
        return 0
    worse = report.find_regressions(done)
    if worse:
        tell(f"measuring once more what seems slower: {', '.join(worse)}")
        worse = report.find_regressions(
            [chosen[case.name]() if case.name in worse else case for case in done]
        )
    for line in worse.values():
        tell(f"slower than the reference: {line}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
