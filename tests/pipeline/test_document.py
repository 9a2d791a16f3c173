"""YAML as data: what it may be, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tidegate.errors import ConfigError
from tidegate.pipeline import document

BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (ord(name), ord(name), b",".join([b"*%c" % ord(before)] * 6))
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def parse(text: str) -> document.Document:
    return document.parse(text.encode(), "shop.yaml")


def refused(data: bytes | str) -> str:
    with pytest.raises(ConfigError) as caught:
        document.parse(data.encode() if isinstance(data, str) else data, "shop.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("True", "True"), ("yes", "yes"), ("no", "no"),
        ("on", "on"), ("off", "off"), ("y", "y"), ("~", None), ("null", None), ("", None),
        ("NULL", "NULL"), ("0", 0), ("-7", -7), ("9007199254740993", 9007199254740993),
        ("010", "010"), ("0x1F", "0x1F"), ("0o17", "0o17"), ("1_000", "1_000"), ("+49", "+49"),
        ("12:30:45", "12:30:45"), ("2024-01-31", "2024-01-31"), ("1.5", 1.5), ("1.5e3", 1500.0),
        ("12e3", "12e3"), (".5", ".5"), (".inf", ".inf"), ("1.5e999", "1.5e999"), ("'5'", "5"),
        ('"true"', "true"), ("!!str 5", "5"), ("!!int 5", 5), ("! 5", "5"), ("5%", "5%"),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_a_value_is_what_a_person_reads(text: str, value: object) -> None:
    found = parse(f"a: {text}\n")
    assert found.data == {"a": value}
    assert type(found.data["a"]) is type(value)
    assert found.mistakes == []


def test_keys_are_always_text() -> None:
    assert parse("{1: a, no: b, true: c, 010: d, ~: e, 12:30: f}").data == {
        "1": "a", "no": "b", "true": "c", "010": "d", "~": "e", "12:30": "f",
    }  # fmt: skip


def test_every_key_and_item_has_its_line() -> None:
    found = parse("# shop\na:\n  b:\n    - 1\n    - {c: 2,\n       d: 3}\n")
    assert found.lines == {
        ("a",): 2, ("a", "b"): 3, ("a", "b", 0): 4, ("a", "b", 1): 5, ("a", "b", 1, "c"): 5,
        ("a", "b", 1, "d"): 6,
    }  # fmt: skip
    assert found.line(("a", "b", 1, "missing")) == 5
    assert found.line(("elsewhere",)) == 1


def test_an_alias_bomb_is_refused_at_once() -> None:
    assert len(BOMB) < 272
    started = time.perf_counter()
    message = refused(BOMB)
    assert time.perf_counter() - started < 0.1
    assert message.startswith("shop.yaml:6: more than 50000 values, counting what aliases")


def test_an_alias_repeats_its_value_and_fifty_are_enough() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n").data == {"a": [1, 2], "b": [1, 2]}
    assert len(parse("- &x 1\n" + "- *x\n" * 50).data) == 51
    assert "more than 50 aliases" in refused("- &x 1\n" + "- *x\n" * 51)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: &a [*a]\n",
            (
                "shop.yaml:1: alias *a stands inside its own anchor. Write &a before the value "
                "it repeats."
            ),
        ),
        (
            "a: *b\n",
            ("shop.yaml:1: alias *b has no anchor above it. Write &b before the value it repeats."),
        ),
        (
            "",
            "shop.yaml: the file is empty. Write at least 'connection:' and 'streams:'.",
        ),
        (
            "# nothing yet\n",
            "shop.yaml: the file is empty. Write at least 'connection:' and 'streams:'.",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "shop.yaml:2: a second document begins here ('---'). Write one file per source.",
        ),
        (
            "? [1, 2]\n: 3\n",
            "shop.yaml:1: a key must be plain text, not a list, a mapping or an alias.",
        ),
        (
            "a: b: c\n",
            (
                "shop.yaml:1: this is not YAML (column 5): a ':' stands where none can be. Text "
                "that holds ': ' needs quotes; otherwise look at the indentation."
            ),
        ),
        (
            "a:\n\tb: 1\n",
            (
                "shop.yaml:2: this is not YAML (column 1): a character stands here that cannot "
                "begin a value. Indent with spaces, not tabs, and put text that begins with @, "
                "` or % in quotes."
            ),
        ),
        (
            "a: 'open\nb: 2\n",
            (
                "shop.yaml:3: this is not YAML (column 1): a quote is opened and never closed; "
                "what begins on line 1 is not complete."
            ),
        ),
        (
            "a: [1, 2\nb: 3\n",
            (
                "shop.yaml:2: this is not YAML (column 2): a list in [ ] is not closed, or a "
                "comma is missing; what begins on line 1 is not complete."
            ),
        ),
        (
            "a: b\0c",
            (
                "shop.yaml:1: the character U+0000 is not allowed in YAML. Delete it, or write "
                "it as an escape in double quotes."
            ),
        ),
    ],
)
def test_what_is_not_one_plain_document_is_refused(text: str, message: str) -> None:
    assert refused(text) == message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_before_it_costs(opening: str) -> None:
    assert "nested deeper than 32 levels" in refused(opening * 60_000)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_bytes(b"# " + b"x" * 300_000)
    with pytest.raises(ConfigError, match=r"^shop\.yaml: the file is larger than 256 KB\. Split"):
        document.read(path)


def test_only_utf8_is_read() -> None:
    assert refused(b"a: 1\nb: caf\xe9\n") == (
        "shop.yaml:2: byte 0xe9 is not UTF-8. Save the file with the encoding UTF-8."
    )
    assert "is not UTF-8" in refused("a: 1".encode("utf-16"))
    assert document.parse("\ufeffa: ☕".encode(), "shop.yaml").data == {"a": "☕"}


def test_duplicate_keys_are_named_with_both_lines() -> None:
    found = parse("a: 1\nb:\n  c: 1\n  d: 2\n  c: {e: 3}\n")
    (mistake,) = found.mistakes
    assert mistake.where == ("b", "c")
    assert mistake.message == (
        "the key is written twice, on line 3 and on line 5. Keep one of them."
    )
    assert found.lines["b", "c"] == 3


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system [id]", "!foo {a: 1}", "!!binary aGk=",
              "!!timestamp 2024-01-31", "!!set {a, b}", "!!omap []", "!!int 010"],
)  # fmt: skip
def test_tags_build_nothing(value: str) -> None:
    (mistake,) = parse(f"ok: 1\na: {value}\n").mistakes
    assert mistake.where == ("a",)
    assert mistake.line == 2
    assert "is not allowed here. Delete it: a pipeline file is plain data" in mistake.message


def test_merge_keys_are_refused_and_quoted_ones_are_text() -> None:
    found = parse("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    assert [mistake.where for mistake in found.mistakes] == [("b", "<<")]
    assert found.data["b"] == {"y": 2}
    assert parse("{'<<': 1}").data == {"<<": 1}
