"""What was measured, as a table, a chart and JSON; and the guard against getting slower."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import FLOOR, OURS, Case

RESULTS = Path(__file__).parent / "results"
REFERENCE = Path(__file__).parent / "reference.json"

WORSE = 1.25
"""A ratio this many times its reference is a failure."""

HEADINGS = (
    "| contender | median s | fastest-slowest s | cpu s | to ours | M rows/s | peak MiB"
    " | read MB | written MB |"
)

_LIBRARIES = ("duckdb", "numpy", "pandas", "polars", "pyarrow")


def machine() -> dict[str, str]:
    """Describe where the figures come from."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(": ")[2]
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def write(cases: list[Case], *, name: str) -> Path:
    """Write results as JSON, Markdown and a chart; returns the Markdown file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "load": os.getloadavg()[0], "cases": [_json(c) for c in cases]}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1))
    path = RESULTS / f"{name}.md"
    path.write_text(markdown(cases))
    draw(cases, RESULTS / f"{name}.svg")
    return path


def markdown(cases: list[Case]) -> str:
    """Return the tables."""
    lines = [", ".join(f"{key} {value}" for key, value in machine().items()), ""]
    for case in cases:
        told = f"**{case.title}**"
        if case.rows:
            told += f", {case.rows:,} daily rows"
        if case.ratio is not None:
            told += f": {case.ratio:.3g} x {case.against}"
        if case.target is not None:
            told += f" (target {case.target:g})"
        lines += [
            told,
            "",
            HEADINGS,
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        ours = case.results.get(OURS)
        for name, found in case.results.items():
            low, high = case.spread.get(name, (found.wall_s, found.wall_s))
            share = f"{found.wall_s / ours.wall_s:.2f}" if ours else ""
            rate = f"{case.rows / found.wall_s / 1e6:.2f}" if case.rows else ""
            lines.append(
                f"| {name} | {found.wall_s:.2f} | {low:.2f}-{high:.2f} | {found.cpu_s:.2f}"
                f" | {share} | {rate} | {found.peak_bytes / 2**20:,.0f}"
                f" | {found.read_bytes / 1e6:,.1f} | {found.written_bytes / 1e6:,.1f} |"
            )
        lines += ["", *(f"- {note}" for note in case.notes), ""]
    return "\n".join(lines)


def draw(cases: list[Case], path: Path) -> None:
    """Draw the wall time of every contender, a panel for each case."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    heights = [len(case.results) for case in cases]
    figure, panels = plt.subplots(
        len(cases),
        1,
        figsize=(8, 0.9 * len(cases) + 0.32 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for case, panel in zip(cases, panels[:, 0], strict=True):
        names = list(case.results)[::-1]
        walls = [case.results[name].wall_s for name in names]
        colours = [
            "#1f6feb" if name.startswith(OURS) else "#9aa4af" if FLOOR in name else "#d0883a"
            for name in names
        ]
        bars = panel.barh(names, walls, color=colours)
        panel.bar_label(bars, [f"{wall:.2f} s" for wall in walls], padding=3, fontsize=8)
        panel.set_title(case.title, loc="left", fontsize=10)
        panel.margins(x=0.15)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def find_regressions(cases: list[Case]) -> dict[str, str]:
    """Compare ratios with the committed reference.

    Returns:
        A line for every case that got worse, by its name; none where all is well.
    """
    reference: dict[str, float] = json.loads(REFERENCE.read_text())["ratios"]
    found = {case.name: case.guarded_ratio for case in cases}
    worse = {}
    for name, before in reference.items():
        now = found.get(name)
        if now is None:
            worse[name] = f"{name}: not measured, the reference is {before:.2f} x"
        elif now > before * WORSE:
            worse[name] = (
                f"{name}: {now:.2f} x, the reference is {before:.2f} x; more than"
                f" {WORSE - 1:.0%} worse"
            )
    return worse


def keep_reference(cases: list[Case]) -> None:
    """Make the ratios of these cases the reference."""
    ratios = {case.name: round(case.guarded_ratio, 2) for case in cases if case.guarded_ratio}
    content = {"machine": machine(), "ratios": ratios}
    REFERENCE.write_text(json.dumps(content, indent=1) + "\n")


def _json(case: Case) -> dict[str, Any]:
    results = {name: asdict(found) for name, found in case.results.items()}
    for found in results.values():
        del found["stdout"]
    return {
        "name": case.name,
        "title": case.title,
        "rows": case.rows,
        "ratio": case.ratio,
        "against": case.against,
        "target": case.target,
        "results": results,
        "spread": case.spread,
        "notes": case.notes,
    }
