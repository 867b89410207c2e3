"""The operator's page says what the code does."""

from __future__ import annotations

from pathlib import Path

from batch.runtime.settings import ConsolidatorSettings
from fetchers.secrets import FLAT_FILE_VARIABLES, KEY_VARIABLES
from fetchers.settings import FetchSettings
from tests.support.settings_tables import settings_table, table_shown

PAGE = Path(__file__).parents[2] / "docs" / "fetching.md"


def test_the_table_of_settings_is_what_the_settings_declare() -> None:
    expected = settings_table([FetchSettings], without=ConsolidatorSettings)

    shown = table_shown(PAGE, expected)

    assert shown == expected


def test_the_key_variables_are_named() -> None:
    page = PAGE.read_text()

    for name in (*KEY_VARIABLES, *FLAT_FILE_VARIABLES[0]):
        assert name in page
