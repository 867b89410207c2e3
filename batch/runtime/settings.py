"""Settings, each declared once: options override ``OHLCV_*`` variables, which override defaults.

A field's name, type and description are its option, its environment variable, its help text
and its row in the documentation; ``Option`` says what they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, StrEnum
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
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from batch.core.errors import SettingsError
from batch.core.instants import parse_instant
from batch.core.layout import INTERVALS, WIDEST, Anchor, bars_table, parse_interval
from batch.runtime.environment import environment
from batch.runtime.shards import Shard

ENV_PREFIX: Final = "OHLCV_"

_NOT_SETTINGS: Final = frozenset({"OHLCV_PIPELINE", "OHLCV_TEST_CORPUS", "OHLCV_UID", "OHLCV_GID"})
"""Variables that others read: metrics, the tests, Docker Compose."""

_ALIKE: Final = 0.75
"""Likeness from which a variable counts as a misspelled one: LAEK is LAKE, PORT is nothing."""


@dataclass(frozen=True, slots=True)
class Option:
    """How a setting appears on the command line, where its field does not say it.

    ``name`` is without dashes; the field's where None. A shell completes the ``usual`` values,
    and folders for one that ``is_folder``.
    """

    name: str | None = None
    metavar: str = "N"
    usual: tuple[str, ...] = ()
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


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


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
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="Log lines on stderr: text, or one JSON object per line."
    )

    @classmethod
    def read(cls, **options: Any) -> Self:
        """Read the settings; options that are None or empty count as not given.

        Raises:
            SettingsError: Names every setting that is wrong and what it must be, and every
                variable that is spelled almost like one that is read.
        """
        given = {name: value for name, value in options.items() if value not in (None, ())}
        misspelled = [
            f"unknown {name}; did you mean {meant}?"
            for name, meant in unknown_variables().items()
            if meant
        ]
        try:
            settings = cls(**given)
        except ValidationError as err:
            problems = [*misspelled, *_explain(err, given, settings_of(cls))]
            raise SettingsError("; ".join(problems)) from err
        if misspelled:
            raise SettingsError("; ".join(misspelled))
        return settings


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


class BarsSettings(Settings):
    """Settings of commands that make bars of N sessions."""

    intervals: Annotated[
        tuple[Interval, ...],
        NoDecode,
        BeforeValidator(_split_list),
        Option("interval", metavar="ND", usual=tuple(map(bars_table, INTERVALS))),
    ] = Field(
        INTERVALS, min_length=1, description="Sessions per bar, such as 5d or 5; may be repeated."
    )
    anchor: Anchor = Field(
        Anchor.CALENDAR,
        description="Count windows by the exchange calendar, or from each symbol's first bar.",
    )


class ResamplerSettings(BarsSettings, JobSettings):
    """What resampling reads."""


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


def unknown_variables() -> dict[str, str | None]:
    """Return the variables with our prefix that no setting reads, each with the one it resembles.

    The settings are those of every class that is imported. Empty variables count as not set.
    """
    meant: dict[str, str] = {}
    for kind in _with_subclasses(Settings):
        for setting in settings_of(kind):
            name = setting.variables[0]
            of_option = setting.flag.removeprefix("--").replace("-", "_").upper()
            meant |= {of_option: name, name.removeprefix(ENV_PREFIX): name}
    unknown: dict[str, str | None] = {}
    for name, value in sorted(environment().items()):
        ours = name.upper().startswith(ENV_PREFIX) and name.upper() not in _NOT_SETTINGS
        bare = name.upper().removeprefix(ENV_PREFIX)
        if ours and value and name.upper() not in meant.values():
            near = get_close_matches(bare, meant, n=1, cutoff=_ALIKE)
            unknown[name] = meant[near[0]] if near else None
    return unknown


def _with_subclasses(kind: type[Settings]) -> Iterator[type[Settings]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _with_subclasses(subclass)


def _explain(
    err: ValidationError, given: Mapping[str, object], settings: Iterable[Setting]
) -> Iterator[str]:
    """Say what is wrong with each setting, named as it was given: by option or variable."""
    by_place = {
        place: setting for setting in settings for place in (setting.name, *setting.variables)
    }
    problems = err.errors(include_url=False)
    with_wrong_items = {problem["loc"][0] for problem in problems if len(problem["loc"]) > 1}
    for problem in problems:
        if not problem["loc"]:
            # Of settings that contradict each other, and names them.
            yield str(problem["ctx"]["error"])
            continue
        place = str(problem["loc"][0])
        if problem["type"] == "too_short" and place in with_wrong_items:
            continue  # counts the items that were right, and the others are reported
        setting = by_place[place]
        if problem["type"] == "value_error":
            text = str(problem["ctx"]["error"])
        else:
            text = f"expected {_expected(problem, setting)}, got {problem['input']!r}"
        yield f"{setting.flag if setting.name in given else setting.variables[0]}: {text}"


def _expected(problem: ErrorDetails, setting: Setting) -> str:
    """Return what a setting must be, in the words of a user rather than of pydantic."""
    match problem["type"].split("_")[0]:
        case "bool":
            return "true or false"
        case "byte":
            return "a size such as 1GiB"
        case "enum":
            return " or ".join(setting.choices)
        case "too":
            return "at least one value"
        case "string" if setting.default:
            return f"a value such as {setting.default}"
        case "int" | "float" | "greater" | "less":
            kind = "a number" if setting.field.annotation is float else "a whole number"
            return f"{kind}{_range_text(problem, setting)}"
    return problem["msg"].removeprefix("Input should be ")


def _range_text(problem: ErrorDetails, setting: Setting) -> str:
    bounds = dict(problem.get("ctx", {}))  # of an item of a list, whose field has none
    for bound in setting.field.metadata:
        bounds |= {
            name: getattr(bound, name) for name in ("ge", "gt", "le") if hasattr(bound, name)
        }
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']:g} to {bounds['le']:g}"
    words = {"ge": "of at least", "gt": "above", "le": "up to"}
    texts = [f" {word} {bounds[name]:g}" for name, word in words.items() if name in bounds]
    return " and".join(texts)
