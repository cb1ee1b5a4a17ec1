from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from undosend.choices import async_database_url, signing_keys
from undosend.domain.errors import Misconfigured
from undosend.settings import Settings, data, load, option, variable

RELAY = "smtp://ann:secret@relay.example:587"


def test_without_anything_chosen_every_setting_has_its_default() -> None:
    settings = load({"dev": True}, {})

    assert settings == Settings(dev=True)
    assert (settings.host, settings.port, settings.grace_seconds) == ("127.0.0.1", 8000, 1.0)


def test_the_command_line_wins_over_the_variable() -> None:
    settings = load({"port": "1", "dev": True}, {"UNDOSEND_PORT": "2"})

    assert settings.port == 1


def test_no_dev_on_the_command_line_wins_over_the_variable() -> None:
    settings = load({"dev": False, "relay_url": RELAY}, {"UNDOSEND_DEV": "1"})

    assert settings.dev is False


def test_a_variable_is_read_into_its_fields_type() -> None:
    settings = load({}, {"UNDOSEND_DEV": "true", "UNDOSEND_GRACE_SECONDS": "2.5", "HOME": "/"})

    assert (settings.dev, settings.grace_seconds) == (True, 2.5)


@pytest.mark.parametrize("before", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("after", ["", "\n", "\r\n"], ids=repr)
def test_a_secret_is_read_from_a_file_without_what_editors_add(
    tmp_path: Path, before: str, after: str
) -> None:
    (tmp_path / "relay").write_bytes(f"{before}{RELAY}{after}".encode())

    settings = load({}, {"UNDOSEND_RELAY_URL_FILE": str(tmp_path / "relay")})

    assert settings.relay_url is not None
    assert settings.relay_url.get_secret_value() == RELAY


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = load({"dev": True}, {"UNDOSEND_PORT": "", "UNDOSEND_RELAY_URL": ""})

    assert settings == Settings(dev=True)


def test_secrets_are_not_in_what_settings_print() -> None:
    settings = load({"relay_url": RELAY, "database_url": "postgresql://u:secret@h/d"}, {})

    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)


def refusal(given: dict[str, object], environ: dict[str, str]) -> str:
    with pytest.raises(Misconfigured) as caught:
        load(given, environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_value_is_named_with_its_place_its_limits_and_its_default() -> None:
    assert refusal({"dev": True}, {"UNDOSEND_PORT": "65536"}) == (
        "UNDOSEND_PORT is '65536', but it takes a whole number from 0 up to 65535. "
        "Correct it, or remove it for the default (8000)."
    )


def test_a_wrong_option_is_named_as_it_was_typed() -> None:
    assert refusal({"dev": True, "log_level": "loud"}, {}).startswith(
        "--log-level is 'loud', but it takes one of debug, info, warning, error."
    )


def test_everything_wrong_is_told_at_once() -> None:
    sentence = refusal({"dev": "perhaps"}, {"UNDOSEND_PORT": "http", "UNDOSEND_HOST": "example"})

    assert all(place in sentence for place in ("--dev", "UNDOSEND_PORT", "UNDOSEND_HOST"))


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_time_that_never_ends_or_runs_backwards_is_refused(value: str) -> None:
    assert "--drain-seconds" in refusal({"dev": True, "drain_seconds": value}, {})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("UNDOSEND_PROT", "UNDOSEND_PORT"),
        ("UNDOSEND_RELAYURL", "UNDOSEND_RELAY_URL"),
        ("UNDOSEND_RELAY_URL_FLIE", "UNDOSEND_RELAY_URL_FILE"),
        ("undosend_port", "UNDOSEND_PORT"),
        ("UNDOSEND_GRACE", "UNDOSEND_GRACE_SECONDS"),
    ],
)
def test_a_mistyped_variable_is_named_with_the_nearest_right_one(typed: str, meant: str) -> None:
    sentence = refusal({"dev": True}, {typed: RELAY})

    assert sentence.startswith(f"{typed} is no setting; the nearest is {meant}. ")
    assert "secret" not in sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [("UNDOSEND_PORT", "tcp://10.0.0.1:8000"), ("UNDOSEND_SERVICE_HOST", "10.0.0.1")],
)
def test_a_variable_that_kubernetes_sets_is_told_apart_from_a_mistake(key: str, value: str) -> None:
    assert "enableServiceLinks" in refusal({"dev": True}, {key: value})


def test_a_variable_beside_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "relay").write_text(RELAY)

    sentence = refusal(
        {}, {"UNDOSEND_RELAY_URL": RELAY, "UNDOSEND_RELAY_URL_FILE": str(tmp_path / "relay")}
    )

    assert sentence == "UNDOSEND_RELAY_URL and UNDOSEND_RELAY_URL_FILE are both set: remove one."


@pytest.mark.parametrize(("content", "fault"), [(None, "No such file"), (b"\n", "is empty")])
def test_a_file_that_gives_no_value_is_named(
    tmp_path: Path, content: bytes | None, fault: str
) -> None:
    if content is not None:
        (tmp_path / "relay").write_bytes(content)

    sentence = refusal({}, {"UNDOSEND_RELAY_URL_FILE": str(tmp_path / "relay")})

    assert str(tmp_path / "relay") in sentence
    assert fault in sentence


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "relay").write_bytes(b"\xff\xfe")

    assert "UTF-8" in refusal({}, {"UNDOSEND_RELAY_URL_FILE": str(tmp_path / "relay")})


@pytest.mark.parametrize(
    ("given", "environ"),
    [
        ({"relay_url": 7}, {}),
        ({"relay_url": RELAY, "port": "x"}, {}),
        ({}, {"UNDOSEND_RELAY_URL_FILE": RELAY}),
        ({}, {"UNDOSEND_RELAY_URL": RELAY, "UNDOSEND_RELAY_URL_FILE": RELAY}),
        ({}, {"UNDOSEND_RELAY_URL": RELAY, "UNDOSEND_HOST": "example"}),
        ({"dev": True, "database_url": "mysql://u:secret@h/d"}, {}),
        ({"dev": True, "database_url": "u:secret@h/d"}, {}),
    ],
)
def test_no_error_repeats_a_secret(given: dict[str, object], environ: dict[str, str]) -> None:
    assert "secret" not in refusal(given, environ)


TLS_FILES = ["relay_ca_file", "relay_client_cert_file", "relay_client_key_file"]


@pytest.mark.parametrize("name", TLS_FILES)
def test_a_variable_that_names_a_file_is_not_taken_for_one_with_the_value(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "file.pem"
    path.write_text("not a name")

    settings = load({"relay_url": RELAY}, {variable(name): str(path)})

    assert getattr(settings, name) == str(path)


def test_the_name_of_a_file_can_itself_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("/etc/ca.pem\n")

    settings = load({"relay_url": RELAY}, {"UNDOSEND_RELAY_CA_FILE_FILE": str(tmp_path / "name")})

    assert settings.relay_ca_file == "/etc/ca.pem"


@pytest.mark.parametrize("name", TLS_FILES)
@pytest.mark.parametrize(
    "value",
    [
        "",
        RELAY,
        "-----BEGIN PRIVATE KEY-----\nsecret",
        "-----BEGIN PRIVATE KEY----- secret",
        "a\0b",
    ],
)
def test_what_is_no_name_of_a_file_is_refused_and_not_repeated(name: str, value: str) -> None:
    sentence = refusal({"relay_url": RELAY, name: value}, {})

    assert sentence.startswith(f"{option(name)}: this is no name of a file")
    assert "secret" not in sentence


@pytest.mark.parametrize("name", TLS_FILES)
def test_files_for_tls_without_a_relay_are_refused(name: str) -> None:
    sentence = refusal({"dev": True, name: "/etc/file.pem"}, {})

    assert option(name) in sentence
    assert "--relay-url" in sentence
    assert load({"dev": True, "relay_url": RELAY, name: "/etc/file.pem"}, {})


def test_without_relay_and_dev_both_ways_out_are_named() -> None:
    sentence = refusal({}, {})

    assert "--relay-url" in sentence
    assert "--dev" in sentence


def test_a_migration_needs_no_relay() -> None:
    assert load({}, {}, serving=False) == Settings()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST"])
def test_a_loopback_host_is_taken(host: str) -> None:
    assert load({"dev": True, "host": host}, {}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"])
def test_a_host_that_lets_other_machines_in_is_taken_for_who_has_keys(host: str) -> None:
    assert load({"dev": True, "host": host}, {}).host == host


@pytest.mark.parametrize("host", ["", "mail.example", "0", "127.1", "[::1]"])
def test_a_host_that_is_no_address_is_refused(host: str) -> None:
    sentence = refusal({"dev": True, "host": host}, {})

    assert sentence.startswith(f"--host: {host!r} ")
    assert "127.0.0.1" in sentence


def test_a_default_delay_beyond_the_longest_is_refused() -> None:
    sentence = refusal({"dev": True, "max_delay_seconds": "5"}, {})

    assert "--default-delay-seconds (10)" in sentence
    assert "--max-delay-seconds (5)" in sentence


def test_service_and_metrics_cannot_share_a_port() -> None:
    assert "--metrics-port" in refusal({"dev": True, "port": "9464"}, {})
    assert load({"dev": True, "port": 0, "metrics_port": 0}, {}).port == 0


@pytest.mark.parametrize(
    "url",
    [
        "mail.example",
        "ftp://mail.example",
        "https://",
        "http://a/?b",
        "http://[::1",
        "https://mail example",
        "https://mail.example\n",
        "https://mail.example:port",
        "https://mail.example:65536",
        "https://ann@mail.example",
        "https://mail.example/a b",
        "https://mail.example#",
    ],
)
def test_a_public_url_that_no_link_can_start_with_is_refused(url: str) -> None:
    sentence = refusal({"dev": True, "public_url": url}, {})

    assert sentence.startswith("--public-url: ")
    assert "write it like https://" in sentence


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "https://*.example",
        "https://[::1",
        "https://ann@mail.example",
        "https://mail.example:port",
        "https://mail.example/x",
        "https://a.example https://b.example",
    ],
)
def test_what_no_browser_names_as_an_origin_is_refused(origin: str) -> None:
    sentence = refusal({"dev": True, "cors_origins": f"https://a.example,{origin}"}, {})

    assert sentence.startswith(f"--cors-origins: {origin!r} is no origin: write https://")


def test_origins_are_kept_as_browsers_write_them() -> None:
    given = "HTTPS://Mail.Example:443/, http://localhost:5173,http://[::1]:80"

    assert Settings(cors_origins=given).cors_origins == (
        "https://mail.example,http://localhost:5173,http://[::1]"
    )


def test_a_public_url_ends_without_a_slash() -> None:
    assert Settings(public_url="https://mail.example/undo/").public_url == (
        "https://mail.example/undo"
    )


@pytest.mark.parametrize(
    ("url", "mapped"),
    [
        ("sqlite:///rel.db", "sqlite+aiosqlite:///rel.db"),
        ("sqlite:////abs.db", "sqlite+aiosqlite:////abs.db"),
        ("postgresql://u:p%40@h:5432/d", "postgresql+asyncpg://u:p%40@h:5432/d"),
        ("postgres://h/d", "postgresql+asyncpg://h/d"),
    ],
)
def test_a_database_url_gets_its_asynchronous_driver(url: str, mapped: str) -> None:
    assert async_database_url(url) == mapped


@pytest.mark.parametrize(
    "url",
    [
        "",
        "undosend.db",
        "mysql://h/d",
        "sqlite+aiosqlite:///a.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:a?mode=memory&uri=true",
        "sqlite://a.db",
    ],
)
def test_a_database_that_cannot_keep_mail_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(Misconfigured, match="write"):
        async_database_url(url)
    assert "--database-url: " in refusal({"dev": True, "database_url": url}, {})


@pytest.mark.parametrize("key", ["k" * 32, f"{'n' * 32},{'o' * 40}", f" {'n' * 32} , {'o' * 32}"])
def test_a_signing_key_is_read_from_a_file_and_not_shown(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key + "\n")

    settings = load({"dev": True}, {"UNDOSEND_SIGNING_KEY_FILE": str(tmp_path / "key")})

    assert signing_keys(settings.signing_key) == [part.strip() for part in key.split(",")]
    assert "k" * 8 not in repr(settings)
    assert "n" * 8 not in repr(settings)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "secret",
        "k" * 31,
        "é" * 16,
        f"{'secret' * 9},",
        f",{'k' * 32}",
        ",".join(["secret" * 6] * 3),
    ],
)
def test_a_signing_key_that_can_be_guessed_is_refused_and_not_repeated(key: str) -> None:
    sentence = refusal({"dev": True, "signing_key": key}, {})

    assert sentence.startswith("--signing-key: A signing key has 32 characters or more")
    assert "secret" not in sentence


def test_without_a_signing_key_there_is_none_to_read() -> None:
    assert signing_keys(Settings().signing_key) == []


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc] # this is the claim


def test_a_name_that_is_no_setting_is_refused() -> None:
    assert refusal({"dev": True, "prot": 1}, {}).startswith("--prot is no setting")


def test_every_field_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_option_and_variable_are_spelled_after_the_field() -> None:
    assert option("relay_url") == "--relay-url"
    assert variable("relay_url") == "UNDOSEND_RELAY_URL"


def test_shipped_files_are_found_in_the_checkout() -> None:
    assert data("migrations").is_dir()
    assert data("api-spec").name in ("api-spec", "_api_spec")


def test_a_missing_shipped_file_says_that_the_installation_is_incomplete() -> None:
    with pytest.raises(Misconfigured, match="incomplete"):
        data("no-such-thing")


@pytest.mark.parametrize("text", ["127.0.0.0/8", " 127.0.0.0/8 , ::1/128 ", "10.1.2.3", ""])
def test_networks_for_webhooks_are_taken(text: str) -> None:
    settings = Settings(dev=True, webhook_allow_networks=text)

    assert settings.webhook_allow_networks == text.replace(" ", "")


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1/8", "10.0.0.0/33", "10/8", "::/129"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"--webhook-allow-networks.* is no network"):
        load({"dev": True, "webhook_allow_networks": f"::1/128,{text}"}, {})


@pytest.mark.parametrize(
    ("text", "why"), [("443,25", "is for mail"), ("0", "is no port"), ("65536", "is no port")]
)
def test_what_is_no_port_for_webhooks_is_refused(text: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=rf"--webhook-ports.* {why}"):
        load({"dev": True, "webhook_ports": text}, {})
