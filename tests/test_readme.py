"""What the README says of settings, exit codes and commands is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batch.core.errors import ExitCode
from batch.core.layout import Anchor
from batch.runtime.settings import ConsolidatorSettings, ResamplerSettings, Settings
from orchestration.cli.main import SECTIONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def shown(default: object) -> str:
    """Return a default as the table writes it."""
    if default is None or default is False:
        return "none" if default is None else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default.value) if isinstance(default, Anchor) else str(default)


@pytest.mark.parametrize("model", [Settings, ConsolidatorSettings, ResamplerSettings])
def test_every_setting_is_in_the_table_with_its_default(model: type[Settings]) -> None:
    rows = re.findall(r"^\| `--([a-z-]+)` \| `(\w+)` \| `?([^|`]+?)`? \|", README, re.MULTILINE)
    table = {environment: default for _, environment, default in rows}

    expected = {
        f"OHLCV_{name.upper()}": shown(field.default) for name, field in model.model_fields.items()
    }

    assert expected.items() <= table.items()


def test_the_exit_codes_are_those_of_the_code() -> None:
    section = README.split("## Exit codes")[1].split("## ")[0]

    assert re.findall(r"^\| (\d+) \|", section, re.MULTILINE) == [str(int(c)) for c in ExitCode]


def test_every_command_is_named() -> None:
    commands = {name for section in SECTIONS.values() for name in section}

    assert commands == set(re.findall(r"`ohlcv ([a-z-]+)(?: bash)?`", README))


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)|srcset=\"([^\"]+)\"|src=\"([^\"]+)\"", README)

    missing = [path for found in links for path in found if path and not (ROOT / path).exists()]

    assert missing == []
