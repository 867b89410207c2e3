"""Where the local AWS answers, and with which credentials it is called."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config

ACCOUNT: Final = "123456789012"
REGION: Final = "us-east-1"

ADMINISTRATOR: Final = "administrator"
"""The access key of an administrator, as every key that is not a role's."""

_ROLE_KEY = "ROLE."


def key_of_role(role_arn: str) -> str:
    """Return the access key of a role."""
    return _ROLE_KEY + role_arn.rsplit("/", 1)[-1]


def role_of_key(key: str) -> str:
    """Return the name of the role that an access key belongs to; empty for an administrator."""
    return key.removeprefix(_ROLE_KEY) if key.startswith(_ROLE_KEY) else ""


@cache
def connect(endpoint: str, service: str, key: str, *, config: Config | None = None) -> Any:
    """Return a client of a service, with an access key."""
    client: Any = boto3.client  # the stubs know services by literal names only
    return client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key="local",
        config=config,
    )


def environment(endpoint: str, key: str) -> dict[str, str]:
    """Return the environment in which a process takes the local AWS for AWS."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PAGER": "",
    }
