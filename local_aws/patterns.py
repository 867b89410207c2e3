"""EventBridge's event patterns: what it accepts as one, and which events one matches.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

_LARGEST_NUMBER: Final = 5.0e9
"""Numeric matching knows numbers from -5.0e9 to 5.0e9; a larger one matches no numeric filter."""

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_INSIDE_ANYTHING_BUT: Final = {"prefix", "suffix", "equals-ignore-case", "wildcard"}
_FILTERS: Final = {*_INSIDE_ANYTHING_BUT, "anything-but", "numeric", "exists", "cidr"}


class PatternError(ValueError):
    """EventBridge refuses a pattern; the message is its reason."""


def check_pattern(pattern: Any) -> None:
    """Check a pattern as PutRule does.

    Raises:
        PatternError: It is not one.
    """
    if not isinstance(pattern, dict) or not pattern:
        raise PatternError("Event pattern must be a JSON object that is not empty")
    for key, wanted in pattern.items():
        if key == "$or":
            if not isinstance(wanted, list) or len(wanted) < 2:
                raise PatternError("'$or' must be an array of at least two patterns")
            for one in wanted:
                check_pattern(one)
        elif isinstance(wanted, dict):
            check_pattern(wanted)
        elif not isinstance(wanted, list):
            raise PatternError(f"'{key}' must be an object or an array")
        elif not wanted:
            raise PatternError("Empty arrays are not allowed")
        else:
            for one in wanted:
                _check_value(one)


def _check_value(wanted: Any) -> None:
    if isinstance(wanted, list):
        raise PatternError("Match value must be String, number, true, false, or null")
    if not isinstance(wanted, dict):
        return
    if len(wanted) != 1:
        raise PatternError("Only one key allowed in match expression")
    name, argument = next(iter(wanted.items()))
    if name not in _FILTERS:
        raise PatternError(f"Unrecognized match type {name}")
    if name == "exists":
        _require(isinstance(argument, bool), "exists match pattern must be either true or false.")
    elif name == "numeric":
        _check_numeric(argument)
    elif name == "cidr":
        try:
            ip_network(argument)
        except ValueError as err:
            raise PatternError(f"Malformed CIDR, {err}") from err
    elif name == "anything-but":
        _check_anything_but(argument)
    else:
        _check_text(name, argument)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PatternError(message)


def _check_text(name: str, argument: Any) -> None:
    if name in {"prefix", "suffix"} and isinstance(argument, dict):
        _require(argument.keys() == {"equals-ignore-case"}, f"Unsupported anything in {name}")
        argument = argument["equals-ignore-case"]
    _require(isinstance(argument, str), f"{name} match pattern must be a string")
    if name == "wildcard":
        is_escaped = re.fullmatch(r"(?:\\[\\*]|[^\\])*", argument, re.DOTALL)
        _require(bool(is_escaped), "Invalid escape character")
        _require("**" not in re.sub(r"\\.", "x", argument), "Consecutive wildcard characters")


def _check_anything_but(argument: Any) -> None:
    if isinstance(argument, dict):
        _require(len(argument) == 1, "Only one key allowed in match expression")
        name, texts = next(iter(argument.items()))
        _require(name in _INSIDE_ANYTHING_BUT, f"Unsupported anything-but pattern: {name}")
        listed = texts if isinstance(texts, list) else [texts]
        _require(bool(listed), "Empty arrays are not allowed")
        for text in listed:
            _check_text(name, text)
        return
    listed = argument if isinstance(argument, list) else [argument]
    _require(bool(listed), "Empty arrays are not allowed")
    kinds = {"text" if isinstance(one, str) else _is_number(one) for one in listed}
    _require(kinds in ({"text"}, {True}), "Values of anything-but must be all texts or all numbers")


def _check_numeric(argument: Any) -> None:
    parts = argument if isinstance(argument, list) else []
    _require(len(parts) in {2, 4}, "Invalid member in numeric match")
    for sign, number in _pairs(parts):
        _require(sign in _COMPARISONS, f"Unrecognized numeric range operator: {sign}")
        is_known = _is_number(number) and abs(number) <= _LARGEST_NUMBER
        _require(is_known, f"Value of {sign} must be a number from -5.0e9 to 5.0e9")
    if len(parts) == 4:
        _require(parts[0] in {">", ">="} and parts[2] in {"<", "<="}, "Bad numeric range operators")
        _require(parts[1] < parts[3], "Bottom must be less than top")


def _pairs(parts: list[Any]) -> list[tuple[str, Any]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def pattern_matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Return whether an event matches a pattern.

    Raises:
        ValueError: The pattern has a filter that is not known here.
    """
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(pattern_matches(one, event) for one in wanted):
                return False
        elif isinstance(wanted, dict):
            inner = event.get(key)
            if not isinstance(inner, dict):
                inner = {}
            if not pattern_matches(wanted, inner):
                return False
        elif not any(_field_matches(one, event, key) for one in wanted):
            return False
    return True


def _field_matches(wanted: Any, event: Mapping[str, Any], key: str) -> bool:
    if isinstance(wanted, dict) and "exists" in wanted:
        is_leaf = key in event and not isinstance(event[key], dict)
        return is_leaf is bool(wanted["exists"])
    if key not in event:
        return False
    found = event[key]
    values = found if isinstance(found, list) else [found]
    return any(_value_matches(wanted, value) for value in values)


def _value_matches(wanted: Any, found: Any) -> bool:
    if not isinstance(wanted, dict):
        return type(wanted) is type(found) and bool(wanted == found)
    name, argument = next(iter(wanted.items()))
    if name == "anything-but":
        if isinstance(argument, dict):
            inner, texts = next(iter(argument.items()))
            listed = texts if isinstance(texts, list) else [texts]
            return isinstance(found, str) and not any(
                _value_matches({inner: text}, found) for text in listed
            )
        excluded = argument if isinstance(argument, list) else [argument]
        return not isinstance(found, dict) and found not in excluded
    if name == "numeric":
        is_known = _is_number(found) and abs(found) <= _LARGEST_NUMBER
        return is_known and all(
            _COMPARISONS[sign](found, number) for sign, number in _pairs(argument)
        )
    if name == "cidr":
        return isinstance(found, str) and ip_address(found) in ip_network(argument)
    return isinstance(found, str) and _text_matches(name, argument, found)


def _text_matches(name: str, argument: Any, found: str) -> bool:
    if isinstance(argument, dict):
        argument, found = argument["equals-ignore-case"].casefold(), found.casefold()
    if name == "prefix":
        return found.startswith(argument)
    if name == "suffix":
        return found.endswith(argument)
    if name == "equals-ignore-case":
        return bool(found.casefold() == argument.casefold())
    if name == "wildcard":
        return re.fullmatch(_expression(argument), found, re.DOTALL) is not None
    raise ValueError(f"the filter {name} is not known here")


def _expression(wildcard: str) -> str:
    r"""Return a regular expression for a wildcard; ``\*`` and ``\\`` stand for themselves."""
    parts = re.findall(r"\\.|\*|[^\\*]+", wildcard, re.DOTALL)
    return "".join(".*" if part == "*" else re.escape(part.removeprefix("\\")) for part in parts)
