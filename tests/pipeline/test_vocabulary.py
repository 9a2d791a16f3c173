"""The words that all sources share: read like a pipeline file, and held against what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.examples import SHOP
from tidegate.pipeline.reader import read_all
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.sources.sql.options import SqlStream
from tidegate.types import ColumnType

WORDS = """\
types:
  Customer:
    description: Who buys
    attributes:
      name: {datatype: string, searchable: true}
      mail: {many: true}
  OrderLine:
    attributes:
      quantity: {datatype: integer, unit: pieces}
      price: {datatype: number, unit: EUR}
relations:
  part_of: {from: OrderLine, to: Order, single: true, qualifiers: [since]}
"""


def told(folder: Path, words: str, shop: str = SHOP) -> dict[str, str]:
    """Name of what is broken → what its author is told."""
    (folder / "shop.yaml").write_text(shop, encoding="utf-8")
    (folder / "vocabulary.yaml").write_text(words, encoding="utf-8")
    return {name: str(error) for file in read_all(folder) for name, error in file.broken.items()}


def test_streams_speak_with_the_words_of_the_vocabulary_beside_them(tmp_path: Path) -> None:
    assert told(tmp_path, WORDS) == {}
    (file,) = read_all(tmp_path)
    words = file.streams["customers"].vocabulary
    assert words is not None
    assert words.attributes("Customer")["mail"].many
    assert words.relations["part_of"].single
    (tmp_path / "vocabulary.yaml").unlink()
    (file,) = read_all(tmp_path)
    assert file.streams["customers"].vocabulary == Vocabulary()


def test_a_word_that_is_not_declared_is_named_where_it_stands(tmp_path: Path) -> None:
    shop = SHOP.replace("{name: name, mail: email}", "{nmae: name, mail: email}")
    shop = shop.replace("attributes: [quantity, price]", "attributes: [quantity, weight]")
    shop = shop.replace(
        "to: {type: Order, key: order_id}}",
        "to: {type: Oder, key: order_id}, qualifiers: {sinse: changed}}",
    )
    assert told(tmp_path, WORDS, shop) == {
        "customers": (
            "shop.yaml:25: streams.customers.load.entities[0].attributes.nmae: vocabulary.yaml "
            "declares no attribute 'nmae' of Customer. Did you mean 'name'?"
        ),
        "order_lines": (
            "shop.yaml:52: streams.order_lines.load.entities[0].attributes[1]: vocabulary.yaml "
            "declares no attribute 'weight' of OrderLine. There are: quantity, price.\n"
            "shop.yaml:56: streams.order_lines.load.relations[1].to: vocabulary.yaml declares "
            "that part_of has Order here, not Oder.\n"
            "shop.yaml:56: streams.order_lines.load.relations[1].qualifiers.sinse: "
            "vocabulary.yaml declares no qualifier 'sinse' of part_of. Did you mean 'since'?"
        ),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("types: [Customer]", "vocabulary.yaml:1: types: must be a mapping"),
        ("types:\n  Customer: {atributes: {}}", "2: types.Customer.atributes: unknown key. Did"),
        ("types: {C: {attributes: {a: {datatype: text}}}}", "'text' is not known. Write one of"),
        ("relations: {R: {from: A}}", "relations.R.to: is missing. Add 'to:'"),
        ("connection: db", "connection: this key does not belong here. It belongs into a source"),
        ("types: {a b: {}}", "'a b' cannot be used here. Use letters, digits and underscores"),
        ("types: [", "this is not YAML"),
        ("", "vocabulary.yaml: the file is empty. Write at least 'types:'."),
        ("- a", "vocabulary.yaml:1: a vocabulary is a mapping with 'types:' and 'relations:'"),
        ("types: {}\ntypes: {}", "types: the key is written twice"),
    ],
)
def test_a_broken_vocabulary_is_told_like_a_broken_file_and_stops_no_stream(
    words: str, message: str, tmp_path: Path
) -> None:
    broken = told(tmp_path, words)
    assert list(broken) == ["vocabulary"]
    assert message in broken["vocabulary"]
    streams = [stream for file in read_all(tmp_path) for stream in file.streams.values()]
    assert len(streams) == 2
    assert all(stream.vocabulary is None for stream in streams)


@pytest.mark.parametrize(
    ("datatype", "fits", "does_not"),
    [
        ("integer", "int16", "decimal(4,0)"), ("number", "decimal(12,2)", "string"),
        ("string", "string", "json"), ("timestamp", "timestamp", "datetime"),
        ("bool", "bool", "int16"),
    ],
)  # fmt: skip
def test_a_column_of_another_datatype_is_found_when_its_type_is_known(
    datatype: str, fits: str, does_not: str
) -> None:
    words = {"types": {"Order": {"attributes": {"total": {"datatype": datatype}}}}}
    entity = {"type": "Order", "key": "id", "attributes": {"total": "sum"}}
    stream = SqlStream.model_validate(
        {"table": "t", "primary_key": "id", "cursor": "id", "load": {"entities": [entity]}}
    ).speaking(Vocabulary.model_validate(words))
    assert list(stream.misfits({"sum": ColumnType.parse(fits)})) == []
    (message,) = stream.misfits({"sum": ColumnType.parse(does_not)})
    assert message == (
        f"column 'sum' of type {does_not} is attribute 'total' of Order, which vocabulary.yaml "
        f"declares as {datatype}. Convert it in clean:, or correct the vocabulary."
    )
