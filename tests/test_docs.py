"""What the documentation says is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import click
import pytest

from undosend.cli import main
from undosend.settings import Settings

ROOT = Path(__file__).parent.parent
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("page", GENERATE["PAGES"], ids=lambda page: page.name)
def test_the_generated_parts_are_what_the_code_says(page: Path) -> None:
    text = page.read_text()
    parts = {name: made() for name, made in GENERATE["PAGES"][page].items()}

    assert GENERATE["filled"](text, parts) == text, "run `make docs`"
    assert all(f"<!-- {name} -->" in text for name in parts)


@pytest.mark.parametrize(
    "page", ["README.md", "SECURITY.md", "docs/decisions.md", "docs/lifecycle.md", "docs/proof.md"]
)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", here.read_text()):
        assert (here.parent / target).exists(), target


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = re.findall(r"^    make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert named
    assert set(named) <= targets


def told(page: str) -> str:
    """Return what a reader of the page sees."""
    return re.sub(r"<!--.*?-->", "", (ROOT / page).read_text(), flags=re.DOTALL)


def test_every_test_that_is_to_hold_a_defence_exists() -> None:
    named = set(re.findall(r"`((?:tests/[\w/]+|test_\w+)(?:\.py)?)`", told("SECURITY.md")))

    assert named
    for name in named:
        assert list(ROOT.glob(name if "/" in name else f"tests/**/{name}")), name


def options(command: click.Command) -> set[str]:
    """Return the options of the command and of all below it."""
    mine = {name for param in command.params for name in param.opts}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return mine.union(*map(options, below))


def test_every_option_that_makes_it_safe_exists() -> None:
    text = told("SECURITY.md")
    variables = {f"UNDOSEND_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= options(main)
    for variable in re.findall(r"UNDOSEND_[A-Z_]+", text):
        assert {variable, variable.removesuffix("_FILE")} & variables, variable
