"""Keys as an operator makes and ends them, beside the running service and without it."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.system.conftest import Serve
from tests.system.service import COMMAND, ENVIRONMENT, PATIENCE, Service


def say(folder: Path, *words: str) -> str:
    """Say ``undosend`` and the words as an operator does; return what is printed."""
    done = subprocess.run(  # noqa: S603 - the command is what is tested
        [COMMAND, *words, "--database-url", "sqlite:///mail.db"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


def status(service: Service, key: str) -> int:
    """Return how the service answers who shows the key."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback URL
        f"{service.url}/v1/emails", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def id_of(key: str) -> str:
    return f"key_{key.split('_')[1]}"


def test_a_key_is_good_and_none_as_soon_as_the_command_has_ended(serve: Serve) -> None:
    service = serve()
    key = say(service.folder, "keys", "create", "--name", "shop")
    assert status(service, key) == 200
    assert service.call("GET", "/v1/emails")[0] == 401

    other = say(service.folder, "keys", "rotate", id_of(key))
    say(service.folder, "keys", "revoke", id_of(key))

    assert (status(service, key), status(service, other)) == (401, 200)
    listed = json.loads(say(service.folder, "keys", "list", "--json"))["data"]
    assert [one["status"] for one in listed] == ["revoked", "active"]


def test_without_the_service_the_same_commands_do_the_same(serve: Serve, tmp_path: Path) -> None:
    first = say(tmp_path, "keys", "create", "--name", "first")
    second = say(tmp_path, "keys", "create", "--name", "second")
    say(tmp_path, "keys", "revoke", id_of(first))

    service = serve()

    assert (status(service, first), status(service, second)) == (401, 200)
    assert service.stop() == 0
    assert not (tmp_path / "mail.db.sock").exists()
    say(tmp_path, "keys", "revoke", id_of(second))
    service.start()
    assert status(service, second) == 401


def test_the_socket_of_a_killed_service_hinders_nobody(serve: Serve) -> None:
    service = serve()
    service.kill()
    assert (service.folder / "mail.db.sock").is_socket()
    first = say(service.folder, "keys", "create", "--name", "first")

    service.start()

    assert status(service, first) == 200
    second = say(service.folder, "keys", "create", "--name", "second")
    assert status(service, second) == 200


def test_a_place_too_deep_for_a_sockets_address_hinders_nobody(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("down" * 20)
    folder.mkdir(parents=True)
    service = Service(folder)
    service.start()
    try:
        assert status(service, say(folder, "keys", "create", "--name", "shop")) == 200
        assert (folder / "mail.db.sock").is_socket()
    finally:
        service.close()


def test_what_is_kept_is_for_no_other_user_whatever_the_umask(tmp_path: Path) -> None:
    command = [
        str(COMMAND),
        "keys",
        "create",
        "--name",
        "shop",
        "--database-url",
        "sqlite:///mail.db",
    ]

    subprocess.run(  # noqa: S603 - the command is what is tested
        command, cwd=tmp_path, env=ENVIRONMENT, timeout=PATIENCE, check=True, umask=0
    )

    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes["mail.db"] == 0o600
    assert [name for name, mode in modes.items() if mode & 0o077] == []


@pytest.mark.parametrize("way_in", [("--host", "0.0.0.0"), ("--public-url", "https://x.example")])
def test_nobody_is_let_in_from_elsewhere_before_there_is_a_key(
    tmp_path: Path, way_in: tuple[str, str]
) -> None:
    command = [str(COMMAND), "serve", "--dev", "--port", "0", "--metrics-port", "0", *way_in]

    done = subprocess.run(  # noqa: S603 - the command is what is tested
        command,
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode != 0
    assert f"{way_in[0]} {way_in[1]}" in done.stderr
    assert "undosend keys create" in done.stderr
