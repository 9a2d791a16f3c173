"""The pages about sources say what the suite and the models say, and their examples can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sources.contract.docs import FOLDER, guarantees, pages
from sources.contract.peers import PEERS
from tidegate.pipeline.kinds import kinds
from tidegate.pipeline.reader import read_file

PAGES = sorted(FOLDER.glob("*.md"))


def test_every_kind_has_a_page_and_a_peer() -> None:
    names = {kind.name for kind in kinds().values()}
    assert {f"{name}.md" for name in names} == {page.name for page in PAGES} - {"README.md"}
    assert {peer.kind for peer in PEERS} == names


def test_the_generated_parts_are_up_to_date() -> None:
    for path, text in pages().items():
        hint = "PYTHONPATH=include:tests python -m sources.contract.docs"
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: write it anew by {hint}"


def test_what_a_kind_cannot_is_a_guarantee_that_exists() -> None:
    for peer in PEERS:
        assert peer.cannot.keys() <= guarantees().keys(), peer.title


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_are_right(page: Path, tmp_path: Path) -> None:
    texts = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    wholes = [text for text in texts if re.search(r"^connection:", text, re.MULTILINE)]
    assert wholes or page.stem == "README"
    for number, text in enumerate(wholes):
        file = tmp_path / f"example_{number}.yaml"
        file.write_text(text, encoding="utf-8")
        found = read_file(file)
        assert found.broken == {}, text
        assert found.streams
