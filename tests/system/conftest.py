from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.service import Service

Serve = Callable[..., Service]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start the command with these options, in the test's folder; end it with the test."""
    services: list[Service] = []

    def start(*options: str) -> Service:
        service = Service(tmp_path, *options)
        services.append(service)
        service.start()
        return service

    yield start
    for service in services:
        service.close()
