"""Lazy frames over the Parquet objects of a lake, on a local folder or on S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from batch.core import schema
from batch.core.errors import DataRefused, ObjectMissing, StoreUnavailable
from batch.core.frames import empty_frame, polars_schema
from batch.core.layout import DAILY_TABLE, RESTATEMENTS_TABLE, SILVER, partition_year, table_order
from batch.storage.store import ObjectStore, StoredObject


@dataclass(frozen=True, slots=True)
class Access:
    """How Polars reads the objects of a store.

    Attributes:
        uri: Root of the lake, without a slash at its end.
        options: Keyword arguments of ``pl.scan_parquet``.
    """

    uri: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, store: ObjectStore) -> Access:
        """Return the access to a store, with the credentials that boto3 finds."""
        if store.uri.startswith("s3://"):
            return cls(store.uri, _s3_options(store))
        return cls(store.uri.rstrip("/") or "/")

    def path(self, key: str) -> str:
        """Return a key as Polars wants it."""
        return f"{self.uri}/{key}"

    def scan(self, keys: Sequence[str], table_schema: Any, **options: Any) -> pl.LazyFrame:
        """Return the rows of some objects of one schema, in the order of the keys."""
        if not keys:
            return empty_frame(table_schema).lazy()
        return pl.scan_parquet(
            [self.path(key) for key in keys],
            hive_partitioning=False,
            glob=False,
            schema=polars_schema(table_schema),
            **self.options,
            **options,
        )


def table_schema(table: str) -> Any:
    """Return the schema of a silver table by its name."""
    if table == DAILY_TABLE:
        return schema.DAILY
    return schema.RESTATEMENTS if table == RESTATEMENTS_TABLE else schema.BARS


def list_tables(store: ObjectStore) -> dict[str, dict[int, StoredObject]]:
    """Return the partitions of every silver table: the narrowest bars first, years ascending."""
    tables: dict[str, dict[int, StoredObject]] = {}
    for item in store.list(SILVER):
        year = partition_year(item.key)
        if year is not None:
            table = item.key.removeprefix(SILVER).partition("/")[0]
            tables.setdefault(table, {})[year] = item
    return {table: tables[table] for table in sorted(tables, key=table_order)}


def of_symbols(rows: pl.LazyFrame, symbols: Sequence[str] | None) -> pl.LazyFrame:
    """Keep the rows of some symbols, so that row groups without them are passed over."""
    if symbols is None:
        return rows
    if len(symbols) == 1:
        return rows.filter(pl.col("symbol") == symbols[0])
    if not symbols:
        return rows.filter(pl.lit(value=False))
    symbol = pl.col("symbol")
    return rows.filter(
        (symbol >= min(symbols)) & (symbol <= max(symbols)), symbol.is_in(list(symbols))
    )


@contextmanager
def reading(named: str) -> Iterator[None]:
    """Turn the errors of a Parquet reader into those of the lake.

    Raises:
        ObjectMissing: An object is gone.
        DataRefused: An object is not a whole Parquet file of its schema.
        StoreUnavailable: The store did not answer.
    """
    try:
        yield
    except FileNotFoundError as err:
        raise ObjectMissing(f"{named}: {err}; a job may be replacing it, read again") from err
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pa.ArrowInvalid) as err:
        raise DataRefused(
            f"{named}: {_first_line(err)}; check the lake with `ohlcv verify`"
        ) from err
    except OSError as err:
        raise StoreUnavailable(f"{named}: {_first_line(err)}; read again") from err


def _first_line(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]


def s3_connection(store: Any) -> tuple[Any, str, str]:
    """Return the credentials, region and endpoint that an S3 store talks with."""
    import boto3  # noqa: PLC0415 - only lakes on S3 need it

    meta = store.client.meta
    credentials = boto3.session.Session().get_credentials()
    return credentials, str(meta.region_name), str(meta.endpoint_url)


def _s3_options(store: Any) -> dict[str, Any]:
    credentials, region, endpoint = s3_connection(store)

    def current() -> tuple[dict[str, str | None], int | None]:
        frozen = credentials.get_frozen_credentials()
        found = {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_session_token": frozen.token,
        }
        expiry: datetime | None = getattr(credentials, "_expiry_time", None)
        return {k: v for k, v in found.items() if v}, int(expiry.timestamp()) if expiry else None

    storage = {"aws_region": region, "aws_endpoint_url": endpoint}
    if endpoint.startswith("http://"):
        storage["aws_allow_http"] = "true"
    options: dict[str, Any] = {"storage_options": storage}
    options["credential_provider"] = current if credentials is not None else None
    return options
