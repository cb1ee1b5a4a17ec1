"""Durable accept against a bare Tornado handler: how much of Tornado is left for clients.

Both take the same requests, a mail of 1.66 KB as JSON over kept connections. The bare reference
parses the JSON and answers 202 with a few octets, in one process without an access log. The
service does all it always does: it checks the mail, commits it (SQLite, ``synchronous=FULL``),
logs it and answers with the whole email; the delay is an hour, so that nothing leaves meanwhile.

Rounds are interleaved and each ratio is taken within its round: read the ratios, not the rates.
``bench/stage.py`` says which process has which core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from bench.stage import (
    HERE,
    SPAWN,
    Rate,
    Service,
    free_port,
    helper,
    load,
    mail,
    named,
    note,
    ratios,
    request,
    served,
    table,
    verdict,
)

_GOAL, _STRETCH = 0.5, 0.6
_BARE = "bare Tornado"


class _Bare(RequestHandler):
    def post(self) -> None:
        given = json.loads(self.request.body)
        self.set_status(202)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(json.dumps({"id": "em_0", "status": "held", "to": given["to"]}))


def _serve_bare(port: int) -> None:
    async def serve() -> None:
        door = Application([(r"/v1/emails", _Bare)], log_function=lambda _: None)
        HTTPServer(door).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def _bare() -> Iterator[Service]:
    port = free_port()
    process = SPAWN.Process(target=_serve_bare, args=(port,), daemon=True)
    process.start()
    assert process.pid is not None
    try:
        yield Service(process.pid, port)
    finally:
        process.terminate()
        process.join()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3, help="of each measurement")
    options.add_argument("--connections", type=int, nargs="+", default=[32, 128])
    options.add_argument(
        "--tree", type=Path, nargs="+", default=[HERE], help="checkouts to compare; default: this"
    )
    given = options.parse_args()
    wanted = request(mail(delay_seconds=3600))
    found: dict[tuple[str, int], list[Rate]] = {}
    with ExitStack() as stack:
        client = stack.enter_context(helper(pinned=True))
        servers = {_BARE: stack.enter_context(_bare())}
        for tree in given.tree:
            # Nothing is due, so nobody calls the relay.
            servers[named(tree)] = stack.enter_context(served(tree, free_port()))
        for turn in range(given.rounds):
            for connections in given.connections:
                for name in sorted(servers, reverse=bool(turn % 2)):
                    rate = client.submit(
                        load, servers[name], wanted, connections, seconds=given.seconds
                    ).result()
                    found.setdefault((name, connections), []).append(rate)
                    refused = f", {rate.refused} refused!" * bool(rate.refused)
                    note(f"{turn + 1}: {connections} x {name}: {rate.per_second:.0f}/s{refused}")
    _report(found, list(servers), given.connections)


def _report(
    found: dict[tuple[str, int], list[Rate]], names: list[str], connections: list[int]
) -> None:
    rows = [["connections", "who", "accepts/s", "p50 ms", "p99 ms", "cpu us", "ratio (least-most)"]]
    worst: dict[str, float] = {}
    for count in connections:
        theirs = [rate.per_second for rate in found[_BARE, count]]
        for name in names:
            rates = found[name, count]
            ours = [rate.per_second for rate in rates]
            middle, shown = ratios(ours, theirs)
            worst[name] = min(middle, worst.get(name, middle))
            p50, p99 = median(r.p50 for r in rates), median(r.p99 for r in rates)
            seen = [f"{median(ours):.0f}", f"{p50:.1f}", f"{p99:.1f}"]
            rows.append([str(count), name, *seen, f"{median(r.cpu for r in rates):.0f}", shown])
    print("durable accept / bare Tornado handler, SQLite FULL; medians")
    table(rows)
    verdict(worst[names[-1]], _GOAL, _STRETCH)


if __name__ == "__main__":
    main()
