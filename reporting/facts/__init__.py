"""What the report tells of a lake, worked out from its tables. Pure: frames in, facts out."""

from reporting.facts.coverage import Coverage, SessionCoverage, coverage_of
from reporting.facts.deliveries import Refused, Restated, refused_of, restated_of
from reporting.facts.lake import LakeFacts, TableSize
from reporting.facts.moves import (
    NEAR_SESSIONS,
    SUSPECT_FACTOR,
    Move,
    Moves,
    moves_of,
)
from reporting.facts.runs import RunFact, runs_of

__all__ = [
    "NEAR_SESSIONS",
    "SUSPECT_FACTOR",
    "Coverage",
    "LakeFacts",
    "Move",
    "Moves",
    "Refused",
    "Restated",
    "RunFact",
    "SessionCoverage",
    "TableSize",
    "coverage_of",
    "moves_of",
    "refused_of",
    "restated_of",
    "runs_of",
]
