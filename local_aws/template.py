"""CloudFormation templates: reading, conditions, intrinsic functions. Nothing is created here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

import yaml

NO_VALUE: Final = object()
"""The value of ``AWS::NoValue``: the property is left out."""

_RULE_FUNCTIONS: Final = {"Fn::And", "Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn"} | {
    "Fn::Equals",
    "Fn::Not",
    "Fn::Or",
    "Fn::RefAll",
    "Fn::ValueOf",
    "Fn::ValueOfAll",
}
"""All that CloudFormation evaluates in the section Rules, beside Ref.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference-rules.html
"""

_PLACEHOLDER = re.compile(r"\$\{(!?)([A-Za-z0-9:.]+)\}")


class TemplateError(Exception):
    """The template cannot be deployed as it is."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Reads the short forms of intrinsic functions."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        text = str(loader.construct_scalar(node))
        return {name: text.split(".", 1) if suffix == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


def read_template(text: str) -> dict[str, Any]:
    """Return a template's sections, with the short forms of functions written out.

    Raises:
        TemplateError: It is not a template.
    """
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with plain values only
    except yaml.YAMLError as err:
        raise TemplateError(f"the template is not YAML: {err}") from err
    if not isinstance(found, dict) or not found.get("Resources"):
        raise TemplateError("the template has no Resources")
    return found


@dataclass(slots=True)
class Scope:
    """The names that a template's expressions may refer to.

    Attributes:
        sections: The template.
        values: Parameters and pseudo parameters by name, and the ``Ref`` of existing resources.
        attributes: ``Fn::GetAtt`` of existing resources, by name and attribute.
        zones: The value of ``Fn::GetAZs``.
    """

    sections: Mapping[str, Any]
    values: dict[str, Any]
    attributes: dict[tuple[str, str], Any] = field(default_factory=dict)
    zones: tuple[str, ...] = ()

    def publish(self, name: str, ref: str, attributes: Mapping[str, str]) -> None:
        """Let expressions refer to a resource."""
        self.values[name] = ref
        self.attributes |= {(name, attribute): value for attribute, value in attributes.items()}

    def holds(self, condition: str) -> bool:
        """Return whether a condition holds."""
        conditions = self.sections.get("Conditions", {})
        if condition not in conditions:
            raise TemplateError(f"condition {condition} is not defined")
        return bool(self.resolve(conditions[condition]))

    def has(self, item: Mapping[str, Any]) -> bool:
        """Return whether a resource or an output is in force: it has no condition, or it holds."""
        return "Condition" not in item or self.holds(item["Condition"])

    def resolve(self, expression: Any) -> Any:
        """Return an expression's value.

        Raises:
            TemplateError: A name or a function in it is unknown.
        """
        if isinstance(expression, list):
            values = (self.resolve(item) for item in expression)
            return [value for value in values if value is not NO_VALUE]
        if not isinstance(expression, dict):
            return expression
        if len(expression) == 1:
            name, argument = next(iter(expression.items()))
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name, argument)
        resolved = {key: self.resolve(value) for key, value in expression.items()}
        return {key: value for key, value in resolved.items() if value is not NO_VALUE}

    def _call(self, name: str, argument: Any) -> Any:
        functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": lambda pair: self._attribute(pair[0], pair[1]),
            "Fn::Sub": self._sub,
            "Fn::If": lambda a: self.resolve(a[1] if self.holds(a[0]) else a[2]),
            "Fn::Equals": lambda a: str(self.resolve(a[0])) == str(self.resolve(a[1])),
            "Fn::Not": lambda a: not self.resolve(a[0]),
            "Fn::And": lambda a: all(self.resolve(item) for item in a),
            "Fn::Or": lambda a: any(self.resolve(item) for item in a),
            "Fn::Contains": lambda a: self.resolve(a[1]) in self.resolve(a[0]),
            "Fn::Join": lambda a: a[0].join(str(item) for item in self.resolve(a[1])),
            "Fn::Select": lambda a: self.resolve(a[1])[int(self.resolve(a[0]))],
            "Fn::GetAZs": lambda _: list(self.zones),
            "Fn::FindInMap": self._find_in_map,
        }
        if name not in functions:
            raise TemplateError(f"{name} is not known here: add it to local_aws/template.py")
        return functions[name](argument)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name not in self.values:
            raise TemplateError(f"Ref {name}: no such parameter, or a resource that does not exist")
        return self.values[name]

    def _attribute(self, name: str, attribute: str) -> Any:
        if (name, attribute) not in self.attributes:
            raise TemplateError(f"GetAtt {name}.{attribute}: no such attribute")
        return self.attributes[name, attribute]

    def _sub(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument
        local = {name: self.resolve(value) for name, value in own.items()}

        def fill(found: re.Match[str]) -> str:
            literal, name = found.groups()
            if literal:
                return f"${{{name}}}"
            if name in local:
                return str(local[name])
            if "." in name:
                return str(self._attribute(*name.split(".", 1)))
            return str(self._ref(name))

        return _PLACEHOLDER.sub(fill, text)

    def _find_in_map(self, argument: Any) -> Any:
        table, first, second = (self.resolve(item) for item in argument)
        return self.sections["Mappings"][table][first][second]


def references(expression: Any) -> set[str]:
    """Return the names that an expression refers to."""
    if isinstance(expression, list):
        return set().union(*(references(item) for item in expression))
    if not isinstance(expression, dict):
        return set()
    found: set[str] = set()
    for key, value in expression.items():
        if key == "Ref":
            found.add(value)
        elif key == "Fn::GetAtt":
            found.add(value[0])
        elif key == "Fn::Sub":
            text, own = (value, {}) if isinstance(value, str) else value
            names = {
                name.split(".")[0] for literal, name in _PLACEHOLDER.findall(text) if not literal
            }
            found |= (names - own.keys()) | references(own)
        else:
            found |= references(value)
    return found


def functions_in(expression: Any) -> set[str]:
    """Return the intrinsic functions that an expression calls, such as ``Fn::Join``."""
    if isinstance(expression, list):
        return set().union(*(functions_in(item) for item in expression))
    if not isinstance(expression, dict):
        return set()
    inner = set().union(*(functions_in(item) for item in expression.values()))
    return inner | {name for name in expression if name.startswith("Fn::")}


def default_texts(sections: Mapping[str, Any]) -> dict[str, str]:
    """Return the defaults of parameters, as texts."""
    declared = sections.get("Parameters", {})
    return {name: str(rules["Default"]) for name, rules in declared.items() if "Default" in rules}


def parameter_values(sections: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """Return every parameter's value, checked against what the template allows.

    Raises:
        TemplateError: Names each parameter that is unknown, missing or not allowed.
    """
    declared = sections.get("Parameters", {})
    problems = [f"parameter {name} does not exist" for name in given.keys() - declared.keys()]
    values: dict[str, Any] = {}
    for name, rules in declared.items():
        if name not in given and "Default" not in rules:
            problems.append(f"parameter {name} has no value")
            continue
        text = str(given.get(name, rules.get("Default")))
        allowed = [str(value) for value in rules.get("AllowedValues", [])]
        if allowed and text not in allowed:
            problems.append(f"parameter {name}: {text!r} is not one of {', '.join(allowed)}")
        shortest, longest = int(rules.get("MinLength", 0)), int(rules.get("MaxLength", 4096))
        if not shortest <= len(text) <= longest:
            problems.append(f"parameter {name}: {text!r} is not {shortest} to {longest} long")
        pattern = rules.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, text):
            problems.append(f"parameter {name}: {text!r} does not match {pattern}")
        if rules["Type"] == "Number":
            low, high = rules.get("MinValue", text), rules.get("MaxValue", text)
            if not float(low) <= float(text) <= float(high):
                problems.append(f"parameter {name}: {text} is not in {low}..{high}")
        is_list = rules["Type"] == "CommaDelimitedList" or rules["Type"].startswith("List<")
        values[name] = text.split(",") if is_list else text
    if problems:
        raise TemplateError("; ".join(sorted(problems)))
    return values


def require_rules(scope: Scope) -> None:
    """Check the template's rules.

    Raises:
        TemplateError: A rule does not hold; the message is its description. Or it uses a
            function that rules do not have.
    """
    for rule in scope.sections.get("Rules", {}).values():
        if foreign := functions_in(rule) - _RULE_FUNCTIONS:
            raise TemplateError(f"Rules: {', '.join(sorted(foreign))} is not a rule function")
        if "RuleCondition" in rule and not scope.resolve(rule["RuleCondition"]):
            continue
        for assertion in rule["Assertions"]:
            if not scope.resolve(assertion["Assert"]):
                raise TemplateError(assertion["AssertDescription"])


def creation_order(resources: Mapping[str, Any]) -> list[str]:
    """Return resources in an order in which everything referred to comes first.

    Raises:
        TemplateError: They refer to each other in a circle.
    """
    needs = {}
    for name, resource in resources.items():
        explicit = resource.get("DependsOn", [])
        explicit = [explicit] if isinstance(explicit, str) else explicit
        referred = references(resource.get("Properties", {})) | set(explicit)
        needs[name] = sorted(referred & resources.keys())
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as err:
        raise TemplateError(f"circular dependency: {' -> '.join(err.args[1])}") from err
