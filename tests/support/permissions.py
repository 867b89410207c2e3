"""What roles may do and their code never does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from local_aws.access import statement_covers
from local_aws.server import LocalAws


def unused_permissions(
    aws: LocalAws, roles: Iterable[str], *, rare: Collection[str], platform: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Return role and action of what is allowed and was not called, unless it is rare.

    ``platform`` are the beginnings of actions that the services call for a role.
    """
    used = set(aws.calls)
    unused = []
    for role in roles:
        for statement in aws.policies(role):
            if statement["Effect"] == "Deny":
                continue
            for action in statement["Action"]:
                seen = any(
                    call.role == role
                    and fnmatchcase(call.action, action)
                    and statement_covers(statement, call)
                    for call in used
                )
                if not seen and action not in rare and not action.startswith(platform):
                    unused.append((role, action))
    return unused
