"""What the lake's ``uploads.toml`` says in advance of each source of uploads."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batch.core.errors import ObjectMissing, SettingsError
from batch.core.layout import UPLOAD_RULES
from batch.storage.store import ObjectStore
from fetchers.files.reading import Reading

Share = Annotated[float, Field(ge=0, le=1)]


class SourceRules(BaseModel):
    """What is known in advance of the files of a source, and how much they may change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    adjusted: bool = False
    date_order: (
        Literal["year-month-day", "year-day-month", "month/day/year", "day/month/year"] | None
    ) = None
    decimal_mark: Literal[".", ","] | None = None
    max_restated_share: Share = 0.01
    restated_by: Annotated[float, Field(ge=0)] = 0.005
    max_unknown_share: Share = 0.05
    max_refused_share: Share = 0.01

    @property
    def reading(self) -> Reading:
        """How to read its files. Adjusted prices are read, and judged afterwards."""
        return Reading(self.date_order, self.decimal_mark, accept_adjusted=True)


USUAL: Final = SourceRules()


def read_rules(lake: ObjectStore) -> Mapping[str, SourceRules]:
    """Return the rules of each source that the lake has some for.

    Raises:
        SettingsError: The file cannot be read; all that is wrong with it is named.
    """
    label = f"{lake.uri}/{UPLOAD_RULES}"
    try:
        content = lake.read(UPLOAD_RULES)
    except ObjectMissing:
        return {}
    try:
        found = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise SettingsError(f"{label}: not TOML: {err}; correct it, or remove it") from err
    sources = found.pop("sources", {})
    wrong = [f"unknown {name!r}; expected [sources.NAME]" for name in found]
    rules = {}
    if not isinstance(sources, dict) or not all(isinstance(one, dict) for one in sources.values()):
        wrong.append("sources: expected a table for each source, [sources.NAME]")
        sources = {}
    for name, given in sources.items():
        try:
            rules[name] = SourceRules(**given)
        except ValidationError as err:
            wrong += [f"[sources.{name}] {_in_words(one)}" for one in err.errors()]
    if wrong:
        raise SettingsError(f"{label}: {'; '.join(wrong)}")
    return rules


def _in_words(error: Mapping[str, object]) -> str:
    place = error["loc"]
    name = str(place[0]) if isinstance(place, tuple) else ""
    if error["type"] != "extra_forbidden":
        return f"{name} = {error['input']!r}: {error['msg']}"
    near = get_close_matches(name, SourceRules.model_fields, n=1)
    meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(SourceRules.model_fields)}"
    return f"{name}: no such setting; {meant}"
