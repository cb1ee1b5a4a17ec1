from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.service import Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The real command; what names no time leaves at once, as these clients cannot say a delay."""
    running = Service(
        tmp_path_factory.mktemp("foreign"), "--default-delay-seconds", "0", "--grace-seconds", "0"
    )
    running.start()
    yield running
    running.close()
