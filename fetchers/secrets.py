"""Where the vendor's keys come from; they appear in no log, message, URL or report."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from pydantic import SecretStr

from batch.core.errors import SettingsError, StoreDenied, StoreUnavailable
from fetchers.errors import KeyMissing

KEY_VARIABLES = ("POLYGON_API_KEY", "MASSIVE_API_KEY")

FLAT_FILE_VARIABLES = (
    ("POLYGON_S3_ACCESS_KEY_ID", "POLYGON_S3_SECRET_ACCESS_KEY"),
    ("MASSIVE_S3_ACCESS_KEY_ID", "MASSIVE_S3_SECRET_ACCESS_KEY"),
)

_SHORTEST_REDACTED = 8

_FIELDS = ("api_key", "POLYGON_API_KEY", "MASSIVE_API_KEY", "polygon_api_key", "key")

_HOW = (
    "get a key at https://polygon.io/dashboard (now https://massive.com/dashboard; the free plan"
    " will do) and set POLYGON_API_KEY or MASSIVE_API_KEY, or name a Secrets Manager secret in"
    " OHLCV_POLYGON_SECRET or an SSM parameter in OHLCV_POLYGON_PARAMETER;"
    " `ohlcv demo` and `ohlcv vendor-stub` need no key"
)


class VendorKey(SecretStr):
    """A key of the vendor; only ``get_secret_value()`` shows it, and it cannot be pickled."""

    def redacted(self, text: str) -> str:
        """Return a text without the key: plain, URL-encoded, escaped as in JSON, or in base64.

        One shorter than eight characters stays: the vendor's have 32 characters, and a
        stand-in's ``any`` would take letters out of words.
        """
        key = self.get_secret_value()
        if len(key) < _SHORTEST_REDACTED:
            return text
        # The pattern is compiled once: ``re`` remembers it.
        return re.sub(_pattern_of(key), "***", text)

    def __reduce__(self) -> Any:
        raise TypeError("a key is not written to disk")


def _pattern_of(key: str) -> str:
    """Return a pattern of every form of a key, each character of it encoded or not."""
    whole = key.encode()
    in_base64 = {encode(whole).decode().rstrip("=") for encode in (b64encode, urlsafe_b64encode)}
    return "|".join(["".join(map(_pattern_of_character, key)), *map(re.escape, in_base64)])


def _pattern_of_character(at: str) -> str:
    digits = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(at):02x}")
    plain = re.escape(at)
    return rf"(?:{plain}|\\{plain}|%{digits}|\\u0025{digits}|\\u00{digits})"


@dataclass(frozen=True, slots=True)
class FlatFileKeys:
    """The pair of keys of the vendor's flat files."""

    access_key_id: VendorKey
    secret_access_key: VendorKey


def find_api_key(
    environment: Mapping[str, str], *, secret: str | None = None, parameter: str | None = None
) -> VendorKey:
    """Find the API key: environment, then Secrets Manager, then the SSM parameter store.

    A variable that is empty counts as not set. ``secret`` is a name or an ARN; the value there,
    or of the parameter, is the key itself, or a JSON object with ``api_key``.

    Raises:
        KeyMissing: There is none, or what there is cannot be a key.
        StoreDenied: AWS refused access.
        StoreUnavailable: AWS did not answer.
    """
    for name in KEY_VARIABLES:
        if environment.get(name, "").strip():
            return _checked(environment[name], name)
    if secret:
        label = f"secret {secret}"
        answer = _request("secretsmanager", "get_secret_value", label, SecretId=secret)
        text = answer.get("SecretString") or answer.get("SecretBinary", b"").decode()
        return _checked(_from_json(text), label)
    if parameter:
        label = f"parameter {parameter}"
        answer = _request("ssm", "get_parameter", label, Name=parameter, WithDecryption=True)
        return _checked(_from_json(answer["Parameter"]["Value"]), label)
    raise KeyMissing(f"no API key for Polygon: {_HOW}")


def find_flat_file_keys(environment: Mapping[str, str]) -> FlatFileKeys:
    """Find the keys of the flat files, which are not the API key.

    Raises:
        KeyMissing: There are none.
    """
    for access, secret in FLAT_FILE_VARIABLES:
        if environment.get(access, "").strip() and environment.get(secret, "").strip():
            return FlatFileKeys(
                _checked(environment[access], access), _checked(environment[secret], secret)
            )
    names = " and ".join(FLAT_FILE_VARIABLES[0])
    raise KeyMissing(
        f"no keys for the flat files: set {names}; the vendor's dashboard shows them under"
        " Flat Files (they need a paid plan and are not the API key)"
    )


def _checked(text: str, source: str) -> VendorKey:
    """Refuse what HTTP would refuse with a message that shows the key."""
    key = text.strip()
    if not key:
        raise KeyMissing(f"{source} is empty: {_HOW}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise KeyMissing(
            f"{source}: not a key: it has spaces, line breaks or characters outside ASCII;"
            " copy it again from the dashboard"
        )
    return VendorKey(key)


def _from_json(text: str) -> str:
    """Return the key from a secret kept as a JSON object, or the text itself."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        fields = json.loads(text)
    except ValueError:
        return text
    for name in _FIELDS:
        if isinstance(fields.get(name), str):
            return str(fields[name])
    raise KeyMissing(
        f"the secret is a JSON object without {_FIELDS[0]!r}; it has {', '.join(sorted(fields))}"
    )


def _request(service: str, operation: str, label: str, **request: Any) -> Mapping[str, Any]:
    config = Config(
        retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=10
    )
    try:
        session: Any = boto3.session.Session()
        client = session.client(service, config=config)
        answer: Mapping[str, Any] = getattr(client, operation)(**request)
    except ClientError as err:
        error = err.response.get("Error", {})
        code = str(error.get("Code", "unknown"))
        # A secret that was made and never filled has the code of one that is not there.
        if "specified secret value" in error.get("Message", ""):
            raise KeyMissing(
                f"{label} has no value yet: put the key in with"
                " `deploy_step_functions.sh --set-key`, or `aws secretsmanager put-secret-value`"
            ) from err
        if code in {"ResourceNotFoundException", "ParameterNotFound"}:
            raise KeyMissing(f"{label}: AWS has none of that name in this region") from err
        if code in {"AccessDeniedException", "UnrecognizedClientException", "AccessDenied"}:
            raise StoreDenied(f"{label}: AWS refused access ({code}); check the role") from err
        raise StoreUnavailable(f"{label}: AWS answered {code}; run the job again") from err
    except (NoCredentialsError, NoRegionError) as err:
        raise SettingsError(f"{label}: {err}") from err
    except BotoCoreError as err:
        raise StoreUnavailable(f"{label}: AWS cannot be reached: {err}") from err
    return answer
