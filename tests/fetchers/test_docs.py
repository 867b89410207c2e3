"""The operator's page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from batch.runtime.settings import ENV_PREFIX, Settings
from fetchers.secrets import FLAT_FILE_VARIABLES, KEY_VARIABLES
from fetchers.settings import FetchSettings

PAGE = (Path(__file__).parents[2] / "docs" / "fetching.md").read_text()
ROW = re.compile(r"^\| `(OHLCV_\w+)` \| `?([^`|]*?)`? \|", re.MULTILINE)


def test_the_settings_table_names_every_setting_and_its_default() -> None:
    own = {
        f"{ENV_PREFIX}{name.upper()}": "none" if field.default is None else str(field.default)
        for name, field in FetchSettings.model_fields.items()
        if name not in Settings.model_fields
    }

    assert dict(ROW.findall(PAGE)) == own


def test_the_key_variables_are_named() -> None:
    for name in (*KEY_VARIABLES, *FLAT_FILE_VARIABLES[0]):
        assert name in PAGE
