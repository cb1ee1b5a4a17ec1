"""Five thousand requests that nobody would send on purpose, each answered well.

``make fuzz`` sends more of them. The seed is fixed, so that a change is judged by the same
requests as the one before; ``FUZZ_SEED`` and ``FUZZ_CASES`` change that.
"""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.cases import WAYS, Case
from tests.fuzz.judge import BARE, Answer, Unsound, answer, fault
from tests.fuzz.rig import LONGEST, fuzz
from tests.fuzz.samples import Samples
from tests.fuzz.sender import Sender
from tests.fuzz.server import Server, mistakes

SEED, CASES = int(os.environ.get("FUZZ_SEED", "7")), int(os.environ.get("FUZZ_CASES", "5000"))
GET = Case("nothing", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET")


@pytest.mark.timeout(7200)
def test_whatever_is_sent_is_answered_well_and_soon(tmp_path: Path) -> None:
    report = fuzz(tmp_path, cases=CASES, seed=SEED)

    assert not report.faults, report.told()
    assert report.cases == CASES
    assert set(report.ways) == set(WAYS)
    taken = sum(number for status, number in report.statuses.items() if 200 <= status < 300)
    assert CASES // 10 < taken < CASES // 2, report.told()


def test_every_call_of_the_contract_has_a_good_request() -> None:
    samples, rng = Samples(), Random(7)  # noqa: S311 - to be drawn again, not to be secret

    drawn = [samples.good(rng) for _ in range(3000)]

    assert {f"{good.method} {good.path}" for good in drawn} >= set(samples.calls)


# That it can fail.


def problem(**members: object) -> Answer:
    document = {"status": 404, "code": "not_found", "detail": "x", "type": "/problems/not_found"}
    body = json.dumps(document | members).encode()
    return Answer(404, {"content-type": "application/problem+json"}, body)


def test_a_sound_problem_is_no_fault() -> None:
    assert fault(GET, problem()) is None


@pytest.mark.parametrize(
    ("case", "got"),
    [
        (GET, Answer(500, {"content-type": "application/problem+json"}, b"{}")),
        (GET, Answer(200, {}, b"Traceback (most recent call last)")),
        (GET, Answer(400, {}, b"")),
        (GET, Answer(404, {"content-type": "text/plain"}, b"no")),
        (GET, problem(status=400)),
        (GET, problem(code="too_late")),
        (GET, problem(detail="")),
        (GET, problem(type="about:blank")),
        (GET, problem(errors=[{"pointer": "to", "code": "x", "detail": "x"}])),
        (GET, problem(errors=[{"pointer": "/to", "code": "x", "detail": ""}])),
        (Case("structure", b"", "POST", wrong=True), Answer(202, {}, b"{}")),
    ],
    ids=str,
)
def test_an_unsound_answer_is_a_fault(case: Case, got: Answer) -> None:
    assert fault(case, got)


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\nZ: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
    ],
)
def test_what_is_no_answer_is_none(octets: bytes) -> None:
    with pytest.raises(Unsound):
        answer(io.BytesIO(octets), "GET")


def test_the_bare_400_is_an_answer_to_what_is_no_http() -> None:
    got = answer(io.BytesIO(BARE), "GET")

    assert got is not None
    assert fault(GET, got)
    assert fault(Case("wire", b"", "GET", framed=False), got) is None


def test_a_loop_that_is_away_is_noticed_and_a_mistake_that_is_logged(tmp_path: Path) -> None:
    with mistakes() as found, Server(tmp_path) as server:
        sender = Sender(server.url)
        before = server.away[0]
        server.does(_busy)
        server.does(lambda: 1 / 0)
        status, wrong = sender.tried(GET)
        sender.tried(GET)
        sender.close()

    assert (status, wrong) == (200, None)
    assert before < LONGEST < server.away[0]
    assert any("Exception in callback" in line for line in found)


def _busy() -> None:
    begun = time.thread_time()
    while time.thread_time() - begun < LONGEST:
        pass
