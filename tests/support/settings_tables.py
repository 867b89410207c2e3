"""The tables of settings in the documentation, made from the settings' declarations."""

from __future__ import annotations

import os
import re
from pathlib import Path

from batch.runtime.settings import Setting, Settings, settings_of

HEAD = "| option | environment | default | what |\n|---|---|---|---|\n"
TABLE = re.compile(re.escape(HEAD) + r"(?:\|.*\|\n)*")


def settings_table(kinds: list[type[Settings]], without: type[Settings] | None = None) -> str:
    """Return the table of the settings of classes, each setting once.

    Args:
        kinds: In the order of the table.
        without: A class whose settings another table has.
    """
    known = set(without.model_fields) if without else set()
    rows = {
        setting.name: _row(setting)
        for kind in kinds
        for setting in settings_of(kind)
        if setting.name not in known
    }
    return HEAD + "".join(rows.values())


def _row(setting: Setting) -> str:
    option = "" if setting.option.environment_only else f"`{setting.flag}`"
    variables = ", else ".join(f"`{name}`" for name in setting.variables)
    default = f"`{setting.default}`" if setting.default is not None else _unset(setting)
    return f"| {option} | {variables} | {default} | {setting.field.description} |\n"


def _unset(setting: Setting) -> str:
    return "off" if setting.field.default is False else "none"


def table_shown(page: Path, expected: str) -> str:
    """Return the table of settings in a page; ``DOCS=update`` writes the expected one first."""
    text = page.read_text()
    (shown,) = TABLE.findall(text)
    if os.environ.get("DOCS") == "update":
        page.write_text(text.replace(shown, expected))
        return expected
    return str(shown)
