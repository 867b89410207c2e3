"""Settings of every job: options, then ``OHLCV_*`` environment variables, then defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AwareDatetime, BeforeValidator, ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from batch.core.errors import SettingsError
from batch.core.instants import parse_instant
from batch.core.layout import INTERVALS, WIDEST, Anchor, parse_interval
from batch.runtime.environment import environment
from batch.runtime.shards import Shard

ENV_PREFIX = "OHLCV_"


def _split_list(value: Any) -> Any:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _instant(value: Any) -> Any:
    try:
        return parse_instant(value) if isinstance(value, str) else value
    except SettingsError as err:
        raise ValueError(str(err)) from err  # told together with the other settings


Interval = Annotated[int, Field(ge=1, le=WIDEST), BeforeValidator(parse_interval)]
"""Sessions per bar, as ``5`` or as the name of the table, ``5d``."""


class Settings(BaseSettings):
    """What every job reads once, at its start.

    Field names are the options' names, where ``OPTIONS`` has no other; the environment
    variable of each is its name in capitals behind ``OHLCV_``.
    """

    OPTIONS: ClassVar[Mapping[str, str]] = {}

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    lake: str = Field("./lake", description="Root of the lake: a folder or s3://bucket/prefix.")
    max_refused_share: float = Field(
        0.01, ge=0, le=1, description="Share of refused rows of one delivery that fails the job."
    )
    workers: int = Field(
        2, ge=1, le=64, description="Threads that read and write objects side by side."
    )
    memory_limit: ByteSize | None = Field(
        None, description="Peak memory that a job should keep under, such as 1GiB."
    )

    @classmethod
    def read(cls, **options: Any) -> Self:
        """Read the settings; options that are None count as not given.

        Raises:
            SettingsError: Names every setting that is wrong, and what it must be.
        """
        given = {name: value for name, value in options.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as err:
            raise SettingsError(explain(err, given, cls.OPTIONS)) from err


class SharedWork(Settings):
    """What a job reads that several processes can share by partitions."""

    shards: int = Field(
        1, ge=1, le=1000, description="Processes that share the work, each a part of the years."
    )
    shard: int = Field(
        0, ge=0, description="Which part this process does, from 0; AWS Batch's index by default."
    )

    @classmethod
    def read(cls, **options: Any) -> Self:
        """Read the settings; an AWS Batch array job tells each process its part.

        Raises:
            SettingsError: Names every setting that is wrong, and what it must be.
        """
        if options.get("shard") is None and not environment().get(f"{ENV_PREFIX}SHARD"):
            options["shard"] = environment().get("AWS_BATCH_JOB_ARRAY_INDEX")
        settings = super().read(**options)
        if settings.shards == 1:
            return settings.model_copy(update={"shard": 0})
        if settings.shard >= settings.shards:
            raise SettingsError(
                f"OHLCV_SHARD: {settings.shard} given, must be below OHLCV_SHARDS,"
                f" which is {settings.shards}"
            )
        return settings

    @property
    def this_shard(self) -> Shard:
        """Which shard this process is."""
        return Shard(self.shard, self.shards)


class ConsolidatorSettings(SharedWork):
    """What consolidation reads."""

    full: bool = Field(False, description="Rebuild every partition.")
    as_of: Annotated[AwareDatetime | None, BeforeValidator(_instant)] = Field(
        None, description="Rebuild what was known at this instant, such as 2025-01-10T09:00Z."
    )


class ResamplerSettings(SharedWork):
    """What resampling reads."""

    OPTIONS: ClassVar[Mapping[str, str]] = {"intervals": "interval"}

    intervals: Annotated[tuple[Interval, ...], NoDecode, BeforeValidator(_split_list)] = Field(
        INTERVALS, min_length=1, description="Sessions per bar, several allowed."
    )
    anchor: Anchor = Field(
        Anchor.CALENDAR, description="Count windows by the calendar, or from each listing."
    )
    full: bool = Field(False, description="Rebuild every partition.")


def explain(err: ValidationError, given: Mapping[str, Any], options: Mapping[str, str]) -> str:
    """Return one line per wrong setting: its name, its value, and what is expected.

    Args:
        err: What is wrong.
        given: The options that were given; the others come from the environment.
        options: Names of the options whose fields have another.
    """
    lines = []
    problems = err.errors(include_url=False)
    of_items = {problem["loc"][0] for problem in problems if len(problem["loc"]) > 1}
    for problem in problems:
        field = str(problem["loc"][0]) if problem["loc"] else "settings"
        if problem["type"] == "too_short" and field in of_items:
            continue  # it counts only the items that were right
        origin = (
            f"--{options.get(field, field).replace('_', '-')}"
            if field in given
            else f"{ENV_PREFIX}{field.upper()}"
        )
        ours = problem["type"] == "value_error"
        told = problem["ctx"]["error"] if ours else f"{problem['msg']}, got {problem['input']!r}"
        lines.append(f"{origin}: {told}")
    return "; ".join(lines)
