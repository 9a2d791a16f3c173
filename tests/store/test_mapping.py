"""Which mapping is in force, and the words it was made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store.deliveries import Delivery
from tidegate.errors import ConfigError
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store.store import Store

TYPES = {"id": "int64", "name": "string", "tags": "json", "weight": "float64"}
NAMED = {"load": {"entities": [{"type": "Thing", "key": "id", "attributes": ["name"]}]}}
WORDS = {
    "types": {"Thing": {"description": "Any", "attributes": {
        "name": {"searchable": True, "unit": "word"}, "it's \"odd\": {}": {"searchable": True},
    }}},
    "relations": {"HAS": {"from": "Thing", "to": "Tag", "single": True, "qualifiers": ["n"]}},
}  # fmt: skip


def verdict(desk: Delivery, *rows: dict[str, Any]) -> str:
    return str(desk.load(rows or [{"id": 1, "name": "a"}]).details["mapping"])


def indexes(store: Store) -> set[str]:
    with store._reading() as connection:
        names = "SELECT indexname FROM pg_indexes"
        if connection.dialect.name == "sqlite":
            names = "SELECT name FROM sqlite_master WHERE type = 'index'"
        found = set(connection.exec_driver_sql(names).scalars())
    return {name for name in found if name.startswith("entity_value_")}


def test_loads_go_on_with_the_first_mapping_and_say_that_it_is_outdated(
    store: Store, tmp_path: Path
) -> None:
    desk = Delivery(store, tmp_path, "shop.things", TYPES, NAMED)
    assert verdict(desk) == "current"
    assert verdict(replace(desk, stream={**NAMED, "page_rows": 7})) == "current"
    for change in (
        {"trust": 51},
        {"cursor": "name"},
        {"load": {"entities": [{"type": "Thing", "key": "id", "name": "{name}"}]}},
    ):
        changed = replace(desk, stream={**NAMED, **change})
        assert store.verdict(changed.name, changed.model) == "outdated"
        assert verdict(changed, {"id": 2, "name": "b"}) == "outdated"
    with store._reading() as connection:
        told = connection.exec_driver_sql("SELECT count(*) FROM entity").scalar()
        known = connection.exec_driver_sql("SELECT count(*) FROM tidegate_mapping").scalar()
    assert (told, known) == (2, 1)
    assert store.verdict("shop.never", desk.model) == "current"


def test_a_word_that_changes_what_is_told_makes_mappings_outdated(
    store: Store, tmp_path: Path
) -> None:
    desk = Delivery(store, tmp_path, "shop.things", TYPES, NAMED, words=Vocabulary())
    verdict(desk)
    for words, expected in (
        ({"description": "other"}, "current"),
        ({"attributes": {"name": {"unit": "word"}}}, "current"),
        ({"attributes": {"name": {"many": True}}}, "outdated"),
    ):
        told = Vocabulary.model_validate({"types": {"Thing": words}})
        assert verdict(replace(desk, words=told)) == expected


def test_the_store_remembers_the_words_for_when_they_cannot_be_read(
    store: Store, tmp_path: Path
) -> None:
    words = Vocabulary.model_validate(
        {"types": {"Thing": {"attributes": {"name": {"many": True}}}}, "relations": {}}
    )
    desk = Delivery(store, tmp_path, "shop.things", TYPES, NAMED, words=words)
    assert verdict(desk) == "current"
    assert verdict(replace(desk, words=None)) == "current"
    assert verdict(replace(desk, words=Vocabulary())) == "outdated"


def test_searchable_attributes_have_an_index_as_long_as_they_are_searchable(
    store: Store, tmp_path: Path
) -> None:
    words = Vocabulary.model_validate(WORDS)
    desk = Delivery(store, tmp_path, "shop.things", TYPES, NAMED, words=words)
    long = {"id": 2, "name": "x" * 100_000}
    verdict(desk, {"id": 1, "name": "a"}, long)
    assert len(indexes(store)) == 2
    verdict(desk)
    assert len(indexes(store)) == 2
    verdict(replace(desk, words=Vocabulary()))
    assert indexes(store) == set()


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (
            {"relations": [{"type": "HAS", "from": {"type": "Thing", "key": "id"},
                            "each": "weight", "to": {"type": "Tag", "key": "."}}]},
            "each of HAS names column 'weight' of type float64. An array is in a column of type",
        ),
        (
            {"entities": [{"type": "Thing", "key": "id", "name": "{nmae}"}]},
            "name of Thing names column 'nmae', which is not there after cleaning. Did you mean",
        ),
        (
            {"relations": [{"type": "HAS", "from": {"type": "Thing", "key": "id"},
                            "to": {"type": "Tag", "key": "name"}, "qualifiers": ["wieght"]}]},
            "qualifiers of HAS names column 'wieght'",
        ),
    ],
)  # fmt: skip
def test_columns_that_a_mapping_cannot_use_are_refused(
    load: dict[str, Any], message: str, store: Store, tmp_path: Path
) -> None:
    desk = Delivery(store, tmp_path, "shop.things", TYPES, {"load": load})
    with pytest.raises(ConfigError, match=message):
        verdict(desk)
