"""The public names: `fluxa_fast.__all__` is the list, and every other place that names them is compared with it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import errors, hooks

INIT = Path(fluxa_fast.__file__)
DOCS = Path(__file__).parents[2] / "docs" / "api"

# What is no business of a face.
ONLY_IN_THE_PACKAGE = {"__version__", "implementation", "pack", "unpack"}
# What `fluxa_fast.asyncio` has under the same name, awaited.
AWAITED = {
    "Context",
    "Engine",
    "EventBroker",
    "EventConsumer",
    "EventFlusher",
    "EventProducer",
    "Handler",
    "Registry",
    "TypedStream",
}


def test_the_names_are_sorted_and_there() -> None:
    assert fluxa_fast.__all__ == sorted(fluxa_fast.__all__)
    assert dir(fluxa_fast) == fluxa_fast.__all__
    for name in fluxa_fast.__all__:
        assert getattr(fluxa_fast, name) is not None


def test_type_checkers_see_the_names_that_are_imported_when_they_are_used() -> None:
    blocks = [node for node in ast.parse(INIT.read_text("utf-8")).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert {name: seen[name] for name in seen if name in fluxa_fast.__all__} == fluxa_fast._LATER
    assert set(seen) - set(fluxa_fast._LATER) == {"Pack", "Unpack"}  # types of names, and no names themselves


def test_asyncio_has_the_same_names() -> None:
    assert fluxa_fast.asyncio.__all__ == [name for name in fluxa_fast.__all__ if name not in ONLY_IN_THE_PACKAGE]
    for name in fluxa_fast.asyncio.__all__:
        same = getattr(fluxa_fast.asyncio, name) is getattr(fluxa_fast, name)
        assert same == (name not in AWAITED), name


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(fluxa_fast.__all__)


@pytest.mark.skipif(not DOCS.exists(), reason="a wheel has no docs")
def test_the_docs_describe_every_public_name_and_no_other() -> None:
    described: set[str] = set()
    for page in DOCS.glob("*.md"):
        described.update(
            re.findall(r"^\.\. (?:auto|py:)\w+:: (fluxa_fast[\w.]+)", page.read_text("utf-8"), re.MULTILINE)
        )
    expected = {f"fluxa_fast.{name}" for name in fluxa_fast.__all__ if name != "__version__"}
    expected |= {f"fluxa_fast.asyncio.{name}" for name in AWAITED}
    expected |= {"fluxa_fast.embedded.EmbeddedServer", "fluxa_fast.embedded.find_server"}
    expected |= {f"fluxa_fast.hooks.{name}" for name in hooks.__all__ if name.endswith("Report")}
    assert described == expected
