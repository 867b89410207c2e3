"""Which uploads the next message to people must report, kept in the lake until it is made.

A run that dies between an upload's last step and the message loses nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from batch.core.errors import DataRefused, ObjectMissing, StateDamaged
from batch.core.layout import NEWS
from batch.storage.store import ObjectStore
from fetchers.uploads.receipts import Receipt, open_ids, read_receipts
from fetchers.uploads.settle import Settled


@dataclass(frozen=True, slots=True)
class News:
    """What a run of settling has to report.

    Attributes:
        run: Its name.
        uploads: Those that were open when it began, and those of runs before it that made no
            message.
        held: Those that were reported as held before, and since when they are.
        settled: What the run settled; None until it has.
        is_reported: Whether the message about them was made.
    """

    run: str = ""
    uploads: tuple[str, ...] = ()
    held: tuple[tuple[str, datetime], ...] = ()
    settled: Settled | None = None
    is_reported: bool = True


_NEWS = TypeAdapter(News)


def begin_news(lake: ObjectStore, run: str) -> None:
    """Note the uploads that are open, at the beginning of a run."""
    before = _read(lake)
    left = () if before.is_reported else before.uploads
    held = before.held
    if before.is_reported and before.settled:
        held = tuple((one.id, one.updated_at) for one in before.settled.held)
    uploads = tuple(sorted({*left, *open_ids(lake)}))
    _write(lake, News(run, uploads, held, is_reported=False))


def keep_settled(lake: ObjectStore, run: str, settled: Settled) -> None:
    """Keep what a run settled, for when its bars are made."""
    _write(lake, replace(_of_run(lake, run), settled=settled))


def settled_in(lake: ObjectStore, run: str) -> Settled:
    """Return what a run settled.

    Raises:
        DataRefused: Another run has begun since.
    """
    return _of_run(lake, run).settled or Settled()


def finish_news(lake: ObjectStore, run: str) -> list[Receipt]:
    """Return the receipts to report, those held only for the first time.

    The same run gets the same again.

    Raises:
        DataRefused: Another run has begun since.
    """
    news = _of_run(lake, run)
    receipts = [kept.receipt for kept in read_receipts(lake, [*news.uploads])]
    _write(lake, replace(news, is_reported=True))
    return [one for one in receipts if (one.id, one.updated_at) not in news.held]


def _of_run(lake: ObjectStore, run: str) -> News:
    news = _read(lake)
    if news.run != run:
        raise DataRefused(
            f"{lake.uri}/{NEWS}: expected what {run} settled, found {news.run or 'nothing'};"
            " start the update again"
        )
    return news


def _read(lake: ObjectStore) -> News:
    try:
        return _NEWS.validate_json(lake.read(NEWS))
    except ObjectMissing:
        return News()
    except ValidationError as err:
        problem = str(err).splitlines()[0]
        raise StateDamaged(f"{lake.uri}/{NEWS}: {problem}; remove it", NEWS) from err


def _write(lake: ObjectStore, news: News) -> None:
    lake.write(NEWS, _NEWS.dump_json(news))
