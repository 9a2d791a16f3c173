"""``tidegate derive``: a changed mapping from the shell."""

from __future__ import annotations

from test_cli import FILE, Shell
from test_cli import shell as shell  # noqa: PLC0414


def test_derive_makes_the_files_mapping_the_one_that_is_read(shell: Shell) -> None:
    assert shell("run", "shop.orders")[0] == 0
    assert shell("derive") == (0, "shop.orders: the mapping is the file's\n", "")
    changed = FILE.replace("{type: Order, key: id", '{type: Order, key: id, name: "No. {id}"')
    shell.write("shop.yaml", changed)
    shell.sql("INSERT INTO orders VALUES (4, '4.00', '2026-03-04')")
    (code, out, _) = shell("run", "shop.orders", "--json")
    assert (code, '"mapping": "outdated"' in out) == (0, True)
    shell.sql("INSERT INTO orders VALUES (5, '5.00', '2026-03-05')")
    assert "To apply it: tidegate derive shop.orders" in shell("run", "shop.orders")[1]
    assert shell("derive", "shop.orders") == (0, "shop.orders: derived anew\n", "")
    (result,) = shell.json("derive", "shop.orders", "--rows", "1")
    assert result == {"stream": "shop.orders", "derived": False, "steps": {}}
    (code, _, err) = shell("derive", "--rows", "0")
    assert (code, "'0' is not a number of records. Write 1 or more" in err) == (2, True)
    (code, _, err) = shell("derive", "shop.oders")
    assert (code, "Did you mean 'shop.orders'?" in err) == (2, True)


def test_a_broken_vocabulary_is_told_by_check(shell: Shell) -> None:
    shell.write("vocabulary.yaml", "types: {Order: {atributes: {}}}")
    (code, out, _) = shell("check")
    assert code == 2
    assert "error    vocabulary: vocabulary.yaml:1: types.Order.atributes: unknown key." in out
    assert "ok       shop.orders" in out
