"""The wheel holds all that the service needs, nothing else, and runs where only it is installed."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.service import Service, until
from undosend import __version__

ROOT = Path(__file__).parent.parent
VENDORED = {
    f"undosend/web/docs/{name}"
    for name in ("LICENSE", "NOTICE", "README.md", "swagger-ui-bundle.js.LICENSE.txt")
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as a packager would, without a network and without isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(  # noqa: S603 - our own build
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_is_named_after_the_version(wheel: Path) -> None:
    assert wheel.name == f"undosend-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("undosend", "undosend"),
        ("undosend/_migrations", "migrations"),
        ("undosend/_api_spec", "api-spec"),
    ],
)
def test_every_file_of_the_checkout_is_in_the_wheel(
    contents: dict[str, bytes], place: str, folder: str
) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    wanted = {
        f"{place}/{path.relative_to(ROOT / folder).as_posix()}": path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }

    assert wanted
    assert wanted.items() <= contents.items()


def test_what_is_easily_forgotten_is_there(contents: dict[str, bytes]) -> None:
    for name in (
        "undosend/_api_spec/openapi.yaml",
        "undosend/_migrations/env.py",
        "undosend/_migrations/versions/0001_first_tables.py",
        "undosend/web/index.html",
        "undosend/web/style.css",
        "undosend/web/problem.html",
        "undosend/web/docs/swagger-ui-bundle.js",
        "undosend/web/docs/LICENSE",
        "undosend/web/docs/NOTICE",
    ):
        assert contents[name], name
    for licence in ("LICENSE", "undosend/web/docs/LICENSE", "undosend/web/docs/NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in contents), licence


def test_nothing_is_in_the_wheel_by_accident(contents: dict[str, bytes]) -> None:
    information = f"undosend-{__version__}.dist-info/"

    for name in contents:
        assert name.startswith(("undosend/", information)), name
        kind = Path(name).suffix
        if name.startswith("undosend/") and name not in VENDORED:
            assert kind in {".py", ".html", ".css", ".js", ".svg", ".yaml", ".typed"}, name
        assert "test" not in Path(name).stem, name


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Make a new environment with the wheel in it and return its folder of commands."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run(  # noqa: S603 - our own wheel
        [*pip, "--no-index", "--no-compile", "--disable-pip-version-check", str(wheel)], check=True
    )
    return folder / "bin"


@pytest.fixture
def variables() -> dict[str, str]:
    """Lend the dependencies, and not the editable install: its .pth file is not read there."""
    (packages,) = site.getsitepackages()
    return {"PATH": os.environ["PATH"], "PYTHONPATH": packages}


def run(*words: str | Path, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        words, cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_package_is_the_wheels(
    environment: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    where = "import undosend, undosend.settings as s; print(undosend.__file__, s.data('api-spec'))"

    found = run(environment / "python", "-c", where, cwd=tmp_path, env=variables)

    inside = environment.parent / "lib"
    assert all(Path(path).is_relative_to(inside) for path in found.split()), found


def test_the_installed_command_tells_its_version(
    environment: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    told = run(environment / "undosend", "--version", cwd=tmp_path, env=variables)

    assert told == f"undosend, version {__version__}\n"


def test_the_installed_command_migrates_a_database(
    environment: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    migrate = (environment / "undosend", "migrate", "--database-url", "sqlite:///x.db")

    first = run(*migrate, cwd=tmp_path, env=variables)
    second = run(*migrate, cwd=tmp_path, env=variables)

    assert first.startswith("The database was at revision none and is at ")
    assert second.endswith("nothing was to do.\n")
    assert (tmp_path / "x.db").stat().st_size > 0


@pytest.fixture
def served(environment: Path, variables: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, command=environment / "undosend", environment=variables)
    service.start()
    yield service
    service.close()


def test_the_installed_command_serves_its_pages_and_takes_mail(served: Service) -> None:
    for path, kind, words in (
        ("/livez", "application/json", b'"ok"'),
        ("/openapi.yaml", "application/yaml", b"openapi: 3.1"),
        ("/", "text/html", b"undosend"),
        ("/docs", "text/html", b"swagger-ui-bundle.js"),
        ("/docs/swagger-ui-bundle.js", "text/javascript", b"SwaggerUIBundle"),
        ("/problems/too_late", "text/html", b"HTTP 409"),
    ):
        with urllib.request.urlopen(served.url + path) as answer:  # noqa: S310 - loopback
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith(kind)
            assert words in answer.read()

    sent = served.send("installed", 0)
    until(lambda: served.email(sent["id"])["status"] == "sent")
    assert served.stop() == 0
