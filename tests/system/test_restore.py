"""A restored database sends nothing until a person says so."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from tests.system.conftest import Serve
from tests.system.service import COMMAND, ENVIRONMENT, PATIENCE, Service, until


def resume(service: Service) -> str:
    """Say ``undosend resume`` as an operator does, and return what it answers."""
    done = subprocess.run(  # noqa: S603 - the command is what is tested
        [COMMAND, "resume", "--database-url", "sqlite:///mail.db"],
        cwd=service.folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def sent(service: Service, email_id: str) -> Any:
    return until(lambda: service.email(email_id)["status"] == "sent")


def subjects(service: Service) -> list[str]:
    return [entry["subject"] for entry in service.inbox()]


def test_a_restored_backup_waits_until_it_is_resumed_even_over_a_restart(serve: Serve) -> None:
    service = serve("--grace-seconds", "0")
    yesterday = service.send("yesterday", 3600)["id"]
    service.stop()
    shutil.copy(service.folder / "mail.db", service.folder / "backup.db")
    service.start()
    service.call("POST", f"/v1/emails/{yesterday}/send-now")
    sent(service, yesterday)
    service.stop()

    shutil.copy(service.folder / "backup.db", service.folder / "mail.db")
    service.start()

    (told,) = [line for line in service.lines() if line["event"] == "paused"]
    status, ready = service.call("GET", "/readyz")
    assert (status, ready["reasons"]) == (503, {"paused": told["reason"]})
    assert "is older than mail.db.epoch says" in told["reason"]
    service.call("POST", f"/v1/emails/{yesterday}/send-now")
    status, undone = service.call("POST", f"/v1/emails/{yesterday}/undo")
    assert (status, undone["status"]) == (200, "draft")
    today = service.send("today", 0)["id"]
    service.kill()
    service.start()
    assert service.email(today)["status"] == "held"
    assert service.call("GET", "/readyz")[0] == 503

    assert resume(service) == "The running service sends mail again."

    sent(service, today)
    assert subjects(service) == ["yesterday", "today"]
    assert service.call("GET", "/readyz")[0] == 200
    assert "resumed" in [line["event"] for line in service.lines()]


def test_after_restore_pauses_until_it_is_resumed_while_nobody_runs(serve: Serve) -> None:
    service = serve("--grace-seconds", "0", "--after-restore")
    email = service.send("later", 0)["id"]
    assert service.call("GET", "/readyz")[0] == 503
    service.stop()

    assert resume(service) == "Mail will be sent from the next start on."
    assert resume(service) == "It was not paused."

    service.options = ()
    service.start()
    sent(service, email)
