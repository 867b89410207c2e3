"""What the README says of settings, exit codes and commands is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from batch.core.errors import ExitCode
from batch.runtime.settings import ConsolidatorSettings, ResamplerSettings
from orchestration.cli.main import SECTIONS
from tests.support.settings_tables import settings_table, table_shown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_of_settings_is_what_the_settings_declare() -> None:
    expected = settings_table([ResamplerSettings, ConsolidatorSettings])

    shown = table_shown(ROOT / "README.md", expected)

    assert shown == expected


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
