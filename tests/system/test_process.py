"""The real command: what it has promised survives its death."""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.system.conftest import Serve
from tests.system.service import Service, header, until


def arrived(service: Service, subject: str) -> list[dict[str, Any]]:
    return [entry for entry in service.inbox() if entry["subject"] == subject]


def test_kill_9_in_the_window_loses_nothing_and_undo_still_works(serve: Serve) -> None:
    service = serve()
    undone, kept = service.send("undone", 4), service.send("kept", 4)

    service.kill()
    service.start()
    status, draft = service.call("POST", f"/v1/emails/{undone['id']}/undo")

    assert (status, draft["status"], draft["id"]) == (200, "draft", undone["id"])
    assert draft["text"] == "The text of undone."
    until(lambda: service.email(kept["id"])["status"] == "sent")
    (entry,) = service.inbox()
    assert entry["subject"] == "kept"
    assert header(entry, "message-id") == kept["message_id"]
    assert service.email(undone["id"])["status"] == "draft"
    types = [e["type"] for e in service.call("GET", f"/v1/emails/{kept['id']}/events")[1]["data"]]
    assert types == ["email.held", "email.sending", "email.sent"]


def test_sigterm_ends_it_well_and_held_mail_leaves_after_the_next_start(serve: Serve) -> None:
    service = serve()
    held = service.send("held", 60)

    assert service.stop() == 0

    last = [line["event"] for line in service.lines()][-2:]
    assert last == ["stopping", "stopped"]
    service.start()
    assert service.email(held["id"])["status"] == "held"
    assert service.email(held["id"])["version"] == held["version"]
    status, _ = service.call("POST", f"/v1/emails/{held['id']}/send-now")
    assert status == 202
    until(lambda: arrived(service, "held"))
    assert service.stop() == 0


def test_mail_that_came_due_while_nobody_ran_leaves_at_the_next_start(serve: Serve) -> None:
    service = serve("--grace-seconds", "0")
    due = service.send("due", 1)
    service.kill()

    release = datetime.fromisoformat(due["release_at"]).timestamp()
    until(lambda: datetime.now().astimezone().timestamp() > release)
    service.start()

    until(lambda: arrived(service, "due"))
    assert len(service.inbox()) == 1


def test_a_second_process_on_the_same_database_is_refused_in_one_sentence(serve: Serve) -> None:
    service = serve()
    second = Service(service.folder)
    second.starts = 90

    status = second.launch().wait(30)
    second.close()

    assert status == 2
    refusal = second.log.read_text()
    assert refusal.startswith("undosend: Another undosend process is using mail.db.")
    assert refusal.count("\n") == 1
    assert service.send("still here", 60)["status"] == "held"


def test_of_two_ports_the_one_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as free:
            other = free.getsockname()[1]
        service = Service(tmp_path)

        status = service.launch("--port", str(other), "--metrics-port", str(port)).wait(30)
        service.close()

    assert status == 1
    refusal = service.log.read_text().splitlines()[-1]
    assert refusal.startswith(f"undosend: Port {port} of 127.0.0.1 is in use")


def test_a_delay_of_one_second_is_one_second(serve: Serve) -> None:
    """The article's test of an asynchronous delay: real time, to two decimal places."""
    service = serve("--grace-seconds", "0")

    sent = service.send("soon", 1)
    (entry,) = until(lambda: arrived(service, "soon"))

    accepted = datetime.fromisoformat(sent["created_at"])
    received = datetime.fromisoformat(str(entry["received_at"]))
    delay = round((received - accepted).total_seconds(), 2)
    assert 1.0 <= delay <= 1.5
    assert header(entry, "message-id") == sent["message_id"]


def test_nothing_of_a_mail_is_in_the_log(serve: Serve) -> None:
    service = serve("--grace-seconds", "0")
    service.send("confidential", 0)
    until(lambda: arrived(service, "confidential"))
    service.stop()

    log = service.log.read_text()

    assert "email.sent" in log
    for word in ("confidential", "ann@", "bob@", "example.org"):
        assert word not in log
