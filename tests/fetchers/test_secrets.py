"""Where the keys come from, and where they never show."""

from __future__ import annotations

import base64
import json
import pickle
from urllib.parse import quote

import boto3
import pytest

from batch.core.errors import ExitCode
from fetchers.errors import KeyMissing
from fetchers.secrets import VendorKey, find_api_key, find_flat_file_keys

KEY = "pk-8d1f-not-to-be-seen"


@pytest.fixture
def aws(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", ["POLYGON_API_KEY", "MASSIVE_API_KEY"])
def test_either_variable_holds_the_key(name: str) -> None:
    assert find_api_key({name: f" {KEY}\n"}).get_secret_value() == KEY


def test_an_empty_variable_counts_as_none() -> None:
    assert find_api_key({"POLYGON_API_KEY": "", "MASSIVE_API_KEY": KEY}).get_secret_value() == KEY


def test_without_a_key_the_message_says_how_to_get_and_set_one() -> None:
    with pytest.raises(KeyMissing) as failure:
        find_api_key({})

    message = str(failure.value)
    assert failure.value.exit_code == ExitCode.USAGE
    for word in ("polygon.io/dashboard", "POLYGON_API_KEY", "OHLCV_POLYGON_SECRET", "ohlcv demo"):
        assert word in message


@pytest.mark.parametrize("text", ["two words", "line\nbreak", "Schlüssel", "tab\tin"])
def test_what_http_would_refuse_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyMissing, match="POLYGON_API_KEY: not a key") as failure:
        find_api_key({"POLYGON_API_KEY": text})

    assert text not in str(failure.value)


def test_a_secret_shows_itself_in_no_way() -> None:
    secret = VendorKey(KEY)

    assert KEY not in f"{secret} {secret!r} {[secret]}"
    assert secret.redacted(f"https://host/path?apiKey={KEY}") == "https://host/path?apiKey=***"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


@pytest.mark.parametrize("key", [KEY, 'odd"key\\with/signs+&', "0123456789abcdefABCDEF"])
def test_every_form_of_a_key_is_redacted(key: str) -> None:
    encoded = "".join(f"%{ord(at):02X}" for at in key)
    forms = [
        key, quote(key, safe=""), encoded, encoded.lower(), json.dumps(key)[1:-1],
        key.replace("/", "\\/"), "".join(f"\\u{ord(at):04x}" for at in key),
        base64.b64encode(key.encode()).decode(), base64.urlsafe_b64encode(key.encode()).decode(),
    ]  # fmt: skip

    for form in forms:
        assert VendorKey(key).redacted(f"<{form}>").rstrip("=>") == "<***"


def test_a_stand_ins_short_key_takes_no_letters_out_of_words() -> None:
    assert VendorKey("any").redacted("Acme Company") == "Acme Company"


@pytest.mark.parametrize(
    "content", [KEY, json.dumps({"api_key": KEY}), json.dumps({"POLYGON_API_KEY": KEY})]
)
def test_the_key_is_read_from_secrets_manager(aws: None, content: str) -> None:
    client = boto3.client("secretsmanager")
    name = f"vendor/{abs(hash(content))}"
    client.create_secret(Name=name, SecretString=content)

    assert find_api_key({}, secret=name).get_secret_value() == KEY


def test_the_key_is_read_from_the_parameter_store(aws: None) -> None:
    boto3.client("ssm").put_parameter(Name="/vendor/key", Value=KEY, Type="SecureString")

    assert find_api_key({}, parameter="/vendor/key").get_secret_value() == KEY


@pytest.mark.parametrize("kind", ["secret", "parameter"])
def test_a_name_that_aws_does_not_know_is_an_error_that_names_it(aws: None, kind: str) -> None:
    with pytest.raises(KeyMissing, match=f"{kind} nowhere: AWS has none of that name"):
        find_api_key({}, **{kind: "nowhere"})


def test_a_secret_without_a_value_is_an_error_that_says_how_to_put_it_in(aws: None) -> None:
    boto3.client("secretsmanager").create_secret(Name="vendor/empty")

    with pytest.raises(KeyMissing, match="secret vendor/empty has no value yet") as failure:
        find_api_key({}, secret="vendor/empty")

    assert failure.value.exit_code == ExitCode.USAGE
    assert "deploy_step_functions.sh --set-key" in str(failure.value)
    assert "aws secretsmanager put-secret-value" in str(failure.value)


def test_a_json_secret_without_the_key_names_its_fields_only(aws: None) -> None:
    content = json.dumps({"token": KEY})
    boto3.client("secretsmanager").create_secret(Name="odd", SecretString=content)

    with pytest.raises(KeyMissing, match="it has token") as failure:
        find_api_key({}, secret="odd")

    assert KEY not in str(failure.value)


def test_flat_files_need_keys_of_their_own() -> None:
    with pytest.raises(KeyMissing, match="POLYGON_S3_ACCESS_KEY_ID"):
        find_flat_file_keys({"POLYGON_API_KEY": KEY})
