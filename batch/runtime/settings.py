"""Settings, each declared once: options override ``OHLCV_*`` variables, which override defaults.

A field's name, type and description are its option, its environment variable, its help text
and its row in the documentation; ``Option`` says what they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from inspect import get_annotations
from typing import Annotated, Any, Final, Self

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from batch.core.errors import SettingsError
from batch.core.instants import parse_instant
from batch.core.layout import INTERVALS, WIDEST, Anchor, parse_interval
from batch.runtime.shards import Shard

ENV_PREFIX: Final = "OHLCV_"


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting appears on the command line, where its field does not say it.

    ``name`` is without dashes; the field's where None. A shell completes folders for one that
    ``is_folder``.
    """

    name: str | None = None
    metavar: str = "N"
    is_folder: bool = False
    environment_only: bool = False


ENVIRONMENT_ONLY: Final = Option(environment_only=True)


def _split_list(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _instant(value: object) -> object:
    try:
        return parse_instant(value) if isinstance(value, str) else value
    except SettingsError as err:
        raise ValueError(str(err)) from err  # reported together with the other settings


Interval = Annotated[int, Field(ge=1, le=WIDEST), BeforeValidator(parse_interval)]
"""Sessions per bar, as ``5`` or as the name of the table, ``5d``."""


class Settings(BaseSettings):
    """What every command reads once, at its start."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
    )

    lake: Annotated[str, Option(metavar="URI", is_folder=True)] = Field(
        "./lake", description="Root of the lake: a folder or s3://bucket/prefix."
    )

    @classmethod
    def read(cls, **options: Any) -> Self:
        """Read the settings; options that are None or empty count as not given.

        Raises:
            SettingsError: Names every setting that is wrong, and what it must be.
        """
        given = {name: value for name, value in options.items() if value not in (None, ())}
        try:
            return cls(**given)
        except ValidationError as err:
            raise SettingsError(_explain(err, given, settings_of(cls))) from err


class WorkerSettings(Settings):
    """Settings of commands that read or write many objects."""

    workers: int = Field(2, ge=1, le=64, description="Threads that read and write objects.")


class MemorySettings(Settings):
    """Settings of commands that can keep to a limit of memory."""

    memory_limit: Annotated[ByteSize | None, Option(metavar="SIZE")] = Field(
        None, description="Peak memory that a job should stay under, such as 1GiB."
    )


class RefusalSettings(Settings):
    """Settings of commands that take in deliveries."""

    max_refused_share: Annotated[float, Option(metavar="SHARE")] = Field(
        0.01, ge=0, le=1, description="Share of refused rows of one delivery that fails the job."
    )


class JobSettings(WorkerSettings, MemorySettings, RefusalSettings):
    """What both jobs read; several processes can share a job, each doing some of the years."""

    full: bool = Field(False, description="Rebuild every partition.")
    shards: int = Field(
        1, ge=1, le=1000, description="Processes that share the job, each with its own --shard."
    )
    shard: Annotated[int, Option(metavar="I")] = Field(
        0,
        ge=0,
        description="Which of the processes this is, from 0.",
        validation_alias=AliasChoices(f"{ENV_PREFIX}SHARD", "AWS_BATCH_JOB_ARRAY_INDEX"),
    )

    @model_validator(mode="after")
    def _require_shard_of_shards(self) -> Self:
        if self.shard >= self.shards > 1:
            raise ValueError(
                f"{ENV_PREFIX}SHARD: {self.shard} given, must be below {ENV_PREFIX}SHARDS,"
                f" which is {self.shards}"
            )
        return self

    @property
    def this_shard(self) -> Shard:
        """The part of the job that this process does."""
        return Shard(self.shard, self.shards) if self.shards > 1 else Shard()


class ConsolidatorSettings(JobSettings):
    """What consolidation reads."""

    as_of: Annotated[AwareDatetime | None, BeforeValidator(_instant), Option(metavar="INSTANT")] = (
        Field(
            None,
            description="Use only what was received by then, such as 2025-01-10 or"
            " 2025-01-10T09:00Z; a run without it returns to the present.",
        )
    )


class ResamplerSettings(JobSettings):
    """What resampling reads."""

    intervals: Annotated[
        tuple[Interval, ...],
        NoDecode,
        BeforeValidator(_split_list),
        Option("interval", metavar="ND"),
    ] = Field(
        INTERVALS, min_length=1, description="Sessions per bar, such as 5d or 5; may be repeated."
    )
    anchor: Anchor = Field(
        Anchor.CALENDAR,
        description="Count windows by the exchange calendar, or from each symbol's first bar.",
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """A declared setting: what its option, its messages and its documentation derive from."""

    name: str
    field: FieldInfo
    option: Option

    @property
    def flag(self) -> str:
        """Its option, such as ``--memory-limit``."""
        return f"--{(self.option.name or self.name).replace('_', '-')}"

    @property
    def variables(self) -> list[str]:
        """Its environment variables; the first one that is set counts."""
        alias = self.field.validation_alias
        if isinstance(alias, AliasChoices):
            return [str(choice) for choice in alias.choices]
        return [f"{ENV_PREFIX}{self.name.upper()}"]

    @property
    def choices(self) -> list[str]:
        """Its values, where there are few."""
        kind = self.field.annotation
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [str(choice.value) for choice in kind]
        return []

    @property
    def default(self) -> str | None:
        """Its default as it would be written; None where it is off or not set."""
        default = self.field.default
        if default is None or default is False:
            return None
        if isinstance(default, tuple):
            return ",".join(map(str, default))
        return str(default.value if isinstance(default, Enum) else default)


def settings_of(kind: type[Settings]) -> list[Setting]:
    """Return the settings of a class: the lake, then its own, then those it inherits."""
    declared = [name for owner in kind.__mro__ for name in get_annotations(owner)]
    settings = []
    for name in dict.fromkeys(["lake", *declared]):
        if field := kind.model_fields.get(name):
            options = [item for item in field.metadata if isinstance(item, Option)]
            settings.append(Setting(name, field, options[0] if options else Option()))
    return settings


def _explain(err: ValidationError, given: Mapping[str, object], settings: Iterable[Setting]) -> str:
    """Return what is wrong with each setting, named as it was given: by option or variable."""
    by_place = {
        place: setting for setting in settings for place in (setting.name, *setting.variables)
    }
    lines = []
    problems = err.errors(include_url=False)
    with_wrong_items = {problem["loc"][0] for problem in problems if len(problem["loc"]) > 1}
    for problem in problems:
        if problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
        else:
            text = f"{problem['msg']}, got {problem['input']!r}"
        if not problem["loc"]:
            lines.append(text)  # of settings that contradict each other, and names them
            continue
        place = str(problem["loc"][0])
        if problem["type"] == "too_short" and place in with_wrong_items:
            continue  # counts the items that were right, and the others are reported
        setting = by_place[place]
        lines.append(f"{setting.flag if setting.name in given else setting.variables[0]}: {text}")
    return "; ".join(lines)
