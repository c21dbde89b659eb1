"""The docs, followed from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis

from tests.docs.blocks import PAGES, ROOT, SHOWN_ONLY, Block, Reader, blocks_of


@pytest.mark.any_server
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_everything_that_a_page_says_works(
    page: Path, server_url: str, client: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = Reader(server_url, tmp_path)
    try:
        for block in blocks_of(page):
            reader.run(block)
    finally:
        reader.close()


@pytest.mark.any_server
def test_a_block_that_does_not_work_is_noticed(server_url: str, tmp_path: Path) -> None:
    reader = Reader(server_url, tmp_path)
    page = ROOT / "README.md"
    try:
        for language, code, error in (
            ("python", "assert False", AssertionError),
            ("python", "await missing", NameError),
            ("console", "fluxa-fast nonsense", AssertionError),
            ("console", "make nonsense", AssertionError),
            ("console", "pip install fluxa-fast[nonsense]", AssertionError),
            ("console", "tools/nonsense", AssertionError),
            ("console", "nonsense", ValueError),
            ("nonsense", "", ValueError),
            ("", "", ValueError),
            ("json", "{", ValueError),
        ):
            with pytest.raises(error):
                reader.run(Block(page, 1, language, code))
    finally:
        reader.close()


def test_links_have_a_target() -> None:
    """Those to files; what is within the docs, the docs' own build checks too."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith(("http://", "https://", "mailto:")):
                assert (page.parent / target).exists(), (
                    f"{page.relative_to(ROOT)} links to {target}, which is not there"
                )


def test_every_kind_of_block_has_its_reason() -> None:
    found = {block.language for page in PAGES for block in blocks_of(page)}
    assert found - set(SHOWN_ONLY) <= {"python", "console"}
    assert set(SHOWN_ONLY) <= found
