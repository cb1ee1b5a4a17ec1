"""What a large attachment costs the real command in memory, from its arrival to its leaving."""

from __future__ import annotations

import base64
import hashlib
import json
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

from tests.system.conftest import Serve
from tests.system.service import Service, until

SIZE = 15 * 2**20


def resident(service: Service, name: str) -> int:
    """Return octets of the process's memory: VmRSS is what it has now, VmHWM the most it had."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return 1024 * int(status.partition(f"{name}:")[2].split()[0])


def asked(service: Service, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Return the email that the call answers with, which has to succeed."""
    status, answer = service.call(method, path, body)
    assert status < 300, answer
    return dict(answer)


def test_15_mib_survive_send_undo_edit_and_send_in_less_than_four_times_their_size(
    serve: Serve,
) -> None:
    service = serve("--grace-seconds", "0")
    octets = hashlib.shake_256(b"as random as any").digest(SIZE)
    attachment = {"filename": "a.bin", "content": base64.b64encode(octets).decode()}
    letter = {"from": "ann@example.org", "to": "bob@example.org", "text": "as sent"}
    service.send("small", 0)  # everything has been done once, and whatever is kept is there
    until(service.inbox)
    before = resident(service, "VmRSS")

    sent = asked(service, "POST", "/v1/emails", {**letter, "attachments": [attachment]})
    path = f"/v1/emails/{sent['id']}"
    asked(service, "POST", f"{path}/undo")
    asked(service, "PATCH", path, {"text": "edited"})
    asked(service, "POST", f"{path}/send", {"delay_seconds": 0})
    until(lambda: service.email(sent["id"])["status"] == "sent")
    peak = resident(service, "VmHWM")

    assert peak - before < 4 * SIZE
    # Read by ourselves: to show a mail, the service parses it.
    _, line = (service.folder / "mail-inbox.jsonl").read_bytes().splitlines()
    arrived = message_from_bytes(json.loads(line)["raw"].encode("ascii"), policy=policy.default)
    text, file = arrived.iter_parts()
    assert text.get_content().strip() == "edited"
    assert hashlib.sha256(file.get_content()).digest() == hashlib.sha256(octets).digest()
