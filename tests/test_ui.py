"""The page passes its tests in a browser; they run in a process of their own (tests/ui)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(900)
def test_the_page_passes_its_tests_in_a_browser() -> None:
    if not (shutil.which("chromium") or shutil.which("chromium-browser") or os.environ.get("CI")):
        pytest.skip("no Chromium: the page is not tested (Debian: apt-get install chromium)")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/ui"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
