"""Schemathesis against the real command: ``python -m tests.conformance.run --seed 7``.

Whatever stands behind is an option of ``st run``; the later of two wins.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.system.service import COMMAND, ENVIRONMENT, Service
from undosend.settings import data

HERE = Path(__file__).parent
OPTIONS = ("--seed", "1", "--max-examples", "150", "--no-color")
SETTINGS = ("--default-delay-seconds", "3600", "--rate-per-minute", "0")
"""Nothing leaves by itself while it is looked at; what a request sends at once does. And no
request is refused for those that came before it.
"""


def conform(folder: Path, *options: str, quiet: bool = False) -> int:
    """Serve in the folder, ask, and return the exit status of ``st run``."""
    service = Service(folder, *SETTINGS)
    try:
        key = _key(folder)
        service.start()
        return _ask(service.url, folder, key, *options, quiet=quiet)
    finally:
        service.close()


def _key(folder: Path) -> str:
    """Return a key for everything: made by a request, the first one would lock out the others."""
    done = subprocess.run(  # noqa: S603 - our own command
        [
            *(str(COMMAND), "keys", "create", "--name", "conformance"),
            *("--scopes", "send,read,undo,admin", "--database-url", "sqlite:///mail.db"),
        ],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _ask(url: str, folder: Path, key: str, *options: str, quiet: bool) -> int:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file"]
    command += [str(HERE / "schemathesis.toml"), "run", str(data("api-spec") / "openapi.yaml")]
    command += ["--url", url, *OPTIONS, "--report", "json", *options]
    command += ["--header", f"Authorization: Bearer {key}"]
    environment = os.environ | {
        "PYTHONPATH": str(HERE.parents[1]),
        "CONFORMANCE_KEY_ID": f"key_{key.split('_')[1]}",
    }
    with (folder / "out").open("wb") as out:
        return subprocess.run(  # noqa: S603 - our own command
            [*command, "--report-json-path", str(folder / "report.json")],
            cwd=folder,
            env=environment,
            stdout=out if quiet else None,
            check=False,
        ).returncode


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        sys.exit(conform(Path(temporary), *sys.argv[1:]))
