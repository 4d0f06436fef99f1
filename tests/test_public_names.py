"""What a program may import from `weightsearch` itself."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from support.paths import ROOT

import weightsearch
from weightsearch import errors


@pytest.mark.parametrize("name", weightsearch.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(weightsearch, name) is not None


def test_every_public_name_is_on_the_page_and_no_other() -> None:
    table = (ROOT / "docs" / "python.md").read_text().partition("\n## Names\n")[2]
    cells = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    named = re.findall(r"`(\w+)(?:\(\w+\))?`", " ".join(cell for row in cells for cell in row))
    assert sorted(named) == sorted(weightsearch.__all__)


@pytest.mark.parametrize("name", weightsearch.__all__)
def test_what_can_be_called_says_what_it_does(name: str) -> None:
    found = getattr(weightsearch, name)
    assert name in ("Epoch", "Objective") or inspect.getdoc(found)


def test_every_exception_is_public() -> None:
    raised = {n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}
    assert raised <= set(weightsearch.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lauch'"):
        weightsearch.lauch  # noqa: B018


def test_types_travel_with_the_package() -> None:
    assert Path(weightsearch.__file__).with_name("py.typed").exists()
