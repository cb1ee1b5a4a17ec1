"""What the documentation says is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("page", GENERATE["PAGES"], ids=lambda page: page.name)
def test_the_generated_parts_are_what_the_code_says(page: Path) -> None:
    text = page.read_text()
    parts = {name: made() for name, made in GENERATE["PAGES"][page].items()}

    assert GENERATE["filled"](text, parts) == text, "run `make docs`"
    assert all(f"<!-- {name} -->" in text for name in parts)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/decisions.md", "docs/lifecycle.md", "docs/proof.md"]
)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", here.read_text()):
        assert (here.parent / target).exists(), target


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = re.findall(r"^    make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert named
    assert set(named) <= targets
