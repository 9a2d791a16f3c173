"""Ways to break a store by hand, and what a check must then name: by invariant, exactly that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidegate.store.store import Store

Expected = set[tuple[str, str]]
"""Invariant and object."""


@dataclass
class Broken:
    """A store that is being broken, with what it takes to find a place for it."""

    store: Store

    def one(self, query: str) -> Any:
        """The first cell that *query* finds; a test that finds none proves nothing."""
        with self.store._reading() as connection:
            found = connection.exec_driver_sql(query).first()
        assert found is not None, query
        return found[0]

    def run(self, *statements: str, rows: int | None = None) -> None:
        """On the store, past everything of the product; each must change something."""
        with self.store._writing() as connection:
            for statement in statements:
                done = connection.exec_driver_sql(statement).rowcount
                assert done == rows if rows is not None else done > 0, statement

    def columns(self, table: str) -> str:
        """All columns of *table* but those of its reign."""
        with self.store._reading() as connection:
            found = sa.inspect(connection).get_columns(table)
        own = {"_seq", "_duplicate"}
        return ", ".join(f'"{one["name"]}"' for one in found if one["name"] not in own)

    @property
    def head(self) -> int:
        """The last commit."""
        return int(self.one("SELECT seq FROM tidegate_head"))

    def rule(self, type: str, stream: str = "shop.orders") -> int:
        """The rule in force of *type*."""
        return int(
            self.one(
                "SELECT r.id FROM tidegate_rule AS r JOIN tidegate_mapping AS m ON m.id = r.mapping"
                f" WHERE r.type = '{type}' AND r.stream = '{stream}' AND m.state = 'active'"
            )
        )

    @property
    def order(self) -> str:
        """An order that is live, and contains something."""
        return str(self.one(f"SELECT min(record) FROM relation WHERE rule = {self.rule(CONTAINS)}"))

    @property
    def changed(self) -> str:
        """An order that was another before, with other content."""
        return str(
            self.one(
                f"SELECT c._key FROM {CURRENT} AS c JOIN {HISTORY} AS h ON h._key = c._key "
                "WHERE h._hash <> c._hash AND h._seq < h._seq_to AND h._seq_to = c._seq "
                "AND NOT c._deleted AND NOT c._duplicate ORDER BY c._key"
            )
        )


CURRENT, HISTORY = "shop__orders", "shop__orders__history"
CONTAINS, PLACED_BY, LIVES_IN = "CONTAINS", "PLACED_BY", "LIVES_IN"


# I1: ends ----------------------------------------------------------------------------------------


def stub_removed(it: Broken) -> Expected:
    it.run("DELETE FROM entity WHERE type = 'Product' AND key = '7'")
    return {("I1", "Product '7'")}


def described_end_removed(it: Broken) -> Expected:
    key = it.order
    it.run(f"DELETE FROM entity WHERE type = 'Order' AND key = '{key}'")
    return {("I1", f"Order '{key}'")}


def led_nowhere(it: Broken) -> Expected:
    rule = it.rule(PLACED_BY)
    key = it.one(
        f"SELECT min(record) FROM relation WHERE rule = {rule} AND to_key IN (SELECT to_key "
        f"FROM relation WHERE rule = {rule} GROUP BY to_key HAVING count(*) > 1)"
    )
    it.run(f"UPDATE relation SET to_key = 'nobody' WHERE rule = {rule} AND record = '{key}'")
    return {("I1", "Person 'nobody'"), ("I3", f"PLACED_BY of record '{key}'")}


# I2: records -------------------------------------------------------------------------------------


def described_by_nobody(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE entity SET record = 'nobody' WHERE type = 'Order' AND key = '{key}'")
    return {("I2", f"Order '{key}'")}


def described_by_a_tombstone(it: Broken) -> Expected:
    key, gone = it.order, it.one(f"SELECT min(_key) FROM {CURRENT} WHERE _deleted")
    it.run(f"UPDATE entity SET record = '{gone}' WHERE type = 'Order' AND key = '{key}'")
    return {("I2", f"Order '{key}'")}


def stated_by_a_tombstone(it: Broken) -> Expected:
    rule, gone = it.rule(PLACED_BY), it.one(f"SELECT min(_key) FROM {CURRENT} WHERE _deleted")
    first = it.one(f"SELECT min(record) FROM relation WHERE rule = {rule}")
    it.run(
        "INSERT INTO relation (rule, record, n, from_key, to_key, seq) SELECT rule, "
        f"'{gone}', 0, from_key, to_key, seq FROM relation WHERE rule = {rule} "
        f"AND record = '{first}'"
    )
    return {("I2", f"PLACED_BY of record '{gone}'")}


def stub_of_nothing(it: Broken) -> Expected:
    it.run(
        "INSERT INTO entity (type, key, rule, stub, attributes, seq) "
        f"VALUES ('Product', 'x', {it.rule(CONTAINS)}, true, '{{}}', 1)"
    )
    return {("I2", "Product 'x'")}


# I3: rows ----------------------------------------------------------------------------------------


def other_attributes(it: Broken) -> Expected:
    key = it.order
    it.run(f"""UPDATE entity SET attributes = '{{"total": 9}}'
           WHERE type = 'Order' AND key = '{key}'""")
    return {("I3", f"Order '{key}'")}


def other_name(it: Broken) -> Expected:
    rule = it.rule("Person", "crm.people")
    key = it.one(f"SELECT min(key) FROM entity WHERE rule = {rule}")
    it.run(f"UPDATE entity SET name = 'x' WHERE rule = {rule} AND key = '{key}'")
    return {("I3", f"Person '{key}'")}


def relation_removed(it: Broken) -> Expected:
    rule, key = it.rule(CONTAINS), it.order
    it.run(f"DELETE FROM relation WHERE rule = {rule} AND record = '{key}' AND n = 0")
    return {("I3", f"CONTAINS of record '{key}'")} | (
        set()
        if _mentions(it, rule) == 2
        else {("I2", f"Product '{sku}'") for sku in ("7", "00501")}
    )


def relation_added(it: Broken) -> Expected:
    rule, key = it.rule(CONTAINS), it.order
    it.run(
        "INSERT INTO relation (rule, record, n, from_key, to_key, qualifiers, seq) "
        f"VALUES ({rule}, '{key}', 99, '{key}', '7', '{{}}', 1)"
    )
    return {("I3", f"CONTAINS of record '{key}'")}


def other_qualifiers(it: Broken) -> Expected:
    rule, key = it.rule(CONTAINS), it.order
    it.run(f"""UPDATE relation SET qualifiers = '{{"quantity": 99}}'
           WHERE rule = {rule} AND record = '{key}' AND n = 0""")
    return {("I3", f"CONTAINS of record '{key}'")}


def talking_stub(it: Broken) -> Expected:
    it.run("UPDATE entity SET name = 'x' WHERE type = 'Product' AND key = '7'")
    return {("I3", "Product '7'")}


def _mentions(it: Broken, rule: int) -> int:
    return int(it.one(f"SELECT count(DISTINCT to_key) FROM relation WHERE rule = {rule}"))


# I4: votes ---------------------------------------------------------------------------------------


def loser_unmarked(it: Broken) -> Expected:
    key = it.one("SELECT min(key) FROM entity WHERE outvoted IS NOT NULL")
    it.run(f"UPDATE entity SET outvoted = NULL WHERE key = '{key}' AND outvoted IS NOT NULL")
    return {("I4", f"Person '{key}'")}


def winner_of_nothing(it: Broken) -> Expected:
    key = it.order
    it.run(f"""UPDATE entity SET outvoted = '{{"total": 1}}'
           WHERE type = 'Order' AND key = '{key}'""")
    return {("I4", f"Order '{key}'")}


def two_winners(it: Broken) -> Expected:
    rule = it.rule(LIVES_IN, "web.accounts")
    key = it.one(f"SELECT min(record) FROM relation WHERE rule = {rule} AND outvoted")
    it.run(f"UPDATE relation SET outvoted = false WHERE rule = {rule} AND record = '{key}'")
    return {("I4", f"LIVES_IN of record {key!r}")}


def loser_without_winner(it: Broken) -> Expected:
    rule, key = it.rule(CONTAINS), it.order
    it.run(f"UPDATE relation SET outvoted = true WHERE rule = {rule} AND record = '{key}'")
    return {("I4", f"CONTAINS of record '{key}'")}


# I5: records -------------------------------------------------------------------------------------


def other_key_column(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE {CURRENT} SET _ref_person = 'x' WHERE _key = '{key}'")
    return {("I5", f"record '{key}'")}


def other_key_column_in_the_past(it: Broken) -> Expected:
    key = it.changed
    it.run(f"UPDATE {HISTORY} SET _ref_id = 'x' WHERE _key = '{key}'")
    return {("I5", f"record '{key}'")}


def other_valid_time(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE {CURRENT} SET _valid = 5 WHERE _key = '{key}'")
    return {("I5", f"record '{key}'")}


def duplicate_unmarked(it: Broken) -> Expected:
    key = it.one(f"SELECT min(_key) FROM {CURRENT} WHERE _duplicate")
    it.run(f"UPDATE {CURRENT} SET _duplicate = false WHERE _key = '{key}'")
    return {("I5", f"record '{key}'")}


def marked_as_a_duplicate(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE {CURRENT} SET _duplicate = true WHERE _key = '{key}'")
    return {("I5", f"record '{key}'")}


def seen_before_it_was_seen(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE {CURRENT} SET _first = _token + 1 WHERE _key = '{key}'")
    return {("I5", f"record '{key}'")}


def overlapping_reigns(it: Broken) -> Expected:
    key = it.changed
    it.run(
        f"UPDATE {HISTORY} SET _seq_to = _seq_to + 1 WHERE _key = '{key}' AND _seq_to = "
        f"(SELECT _seq FROM {CURRENT} WHERE _key = '{key}') AND _seq < _seq_to"
    )
    return {("I5", f"record '{key}'")}


def gap_between_reigns(it: Broken) -> Expected:
    key, head = it.changed, it.head
    it.run(f"UPDATE {CURRENT} SET _seq = {head} WHERE _key = '{key}' AND _seq < {head}")
    return {("I5", f"record '{key}'")}


def nobody_reigns(it: Broken) -> Expected:
    key, names = it.order, it.columns(CURRENT)
    it.run(*_deposed(key, names, it.head))
    return {("I5", f"record '{key}'")}


def an_older_one_reigns(it: Broken) -> Expected:
    key, names, head = it.changed, it.columns(CURRENT), it.head
    older = it.one(
        f"SELECT h._hash FROM {CURRENT} AS c JOIN {HISTORY} AS h ON h._key = c._key "
        f"WHERE h._hash <> c._hash AND c._key = '{key}'"
    )
    it.run(
        *_deposed(key, names, head),
        f"INSERT INTO {CURRENT} ({names}, _duplicate, _seq) SELECT {names}, false, {head} "
        f"FROM {HISTORY} WHERE _key = '{key}' AND _hash = {older} LIMIT 1",
    )
    return {("I5", f"record '{key}'")}


def _deposed(key: str, names: str, head: int) -> Sequence[str]:
    reign = f"SELECT {names}, _duplicate, _seq, {head + 1} FROM {CURRENT} WHERE _key = '{key}'"
    return (
        f"INSERT INTO {HISTORY} ({names}, _duplicate, _seq, _seq_to) {reign}",
        f"UPDATE {HISTORY} SET _seq_to = {head} WHERE _key = '{key}' AND _seq_to = {head + 1}",
        f"DELETE FROM {CURRENT} WHERE _key = '{key}'",
    )


# I6: numbers -------------------------------------------------------------------------------------


def line_removed(it: Broken) -> Expected:
    it.run("DELETE FROM tidegate_run WHERE seq IN (3, 4)")
    return {("I6", "commits 3 to 4")}


def last_line_removed(it: Broken) -> Expected:
    head = it.head
    it.run(f"DELETE FROM tidegate_run WHERE seq = {head}")
    return {("I6", f"commit {head}")}


def head_set_back(it: Broken) -> Expected:
    # Some rows are of the commits that the head does not know any more.
    it.run("UPDATE tidegate_head SET seq = seq - 1")
    late = it.head + 1
    with it.store._reading() as connection:
        records = [
            (table, key)
            for table in ("crm__people", "web__accounts", "shop__orders")
            for (key,) in connection.exec_driver_sql(
                f"SELECT _key FROM {table} WHERE _seq >= {late} UNION "
                f"SELECT _key FROM {table}__history WHERE _seq_to >= {late}"
            )
        ]
        facts = list(
            connection.exec_driver_sql(
                f"SELECT type, key FROM entity WHERE seq >= {late} UNION "
                "SELECT r.type || ' of record', f.record FROM relation AS f "
                f"JOIN tidegate_rule AS r ON r.id = f.rule WHERE f.seq >= {late}"
            )
        )
    named = {("I6", f"record {key!r}") for _, key in records}
    return {("I6", "head")} | named | {("I6", f"{type} {key!r}") for type, key in facts}


def record_beyond(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE {CURRENT} SET _seq = 1000000 WHERE _key = '{key}'")
    return {("I6", f"record '{key}'")}


def past_beyond(it: Broken) -> Expected:
    key = it.changed
    it.run(
        f"UPDATE {HISTORY} SET _seq_to = 1000000 WHERE _key = '{key}' AND _seq < _seq_to "
        f"AND _seq_to = (SELECT _seq FROM {CURRENT} WHERE _key = '{key}')"
    )
    return {("I6", f"record '{key}'")}


def fact_beyond(it: Broken) -> Expected:
    key = it.order
    it.run(f"UPDATE entity SET seq = 1000000 WHERE type = 'Order' AND key = '{key}'")
    return {("I6", f"Order '{key}'")}


# I7: identity ------------------------------------------------------------------------------------


def two_mappings(it: Broken) -> Expected:
    number = it.one("SELECT max(id) + 1 FROM tidegate_mapping")
    it.run(
        f"INSERT INTO tidegate_mapping (id, stream, state, definition) SELECT {number}, stream, "
        "state, definition FROM tidegate_mapping WHERE stream = 'shop.orders' AND state = 'active'"
    )
    return {("I7", "active mapping")}


def sleeping_rule(it: Broken) -> Expected:
    rule = it.rule("Order")
    it.run(f"UPDATE tidegate_rule SET active = false WHERE id = {rule}")
    return {("I7", f"rule {rule}")}


def bent_rule(it: Broken) -> Expected:
    rule = it.rule("Person", "crm.people")
    it.run(f"UPDATE tidegate_rule SET trust = 1 WHERE id = {rule}")
    return {("I7", f"rule {rule}")}


def rule_removed(it: Broken) -> Expected:
    rule = it.rule("Order")
    mapping = it.one(f"SELECT mapping FROM tidegate_rule WHERE id = {rule}")
    it.run(f"DELETE FROM tidegate_rule WHERE id = {rule}")
    return {("I7", f"rule {rule}"), ("I7", f"mapping {mapping}")}


def fact_of_no_rule(it: Broken) -> Expected:
    it.run(
        "INSERT INTO relation (rule, record, n, from_key, to_key, seq) "
        "VALUES (9999, '1', 0, '1', '1', 1)"
    )
    return {("I7", "rule 9999")}


def key_of_another(it: Broken) -> Expected:
    key, rule = it.order, it.rule("Order")
    it.run(
        f"DELETE FROM entity WHERE rule = {rule} AND key = '{key}'",
        "INSERT INTO entity (type, key, rule, stub, attributes, record, valid, seq) "
        f"SELECT type, 'zz', rule, stub, attributes, '{key}', valid, seq FROM entity "
        f"WHERE rule = {rule} AND key = (SELECT min(key) FROM entity WHERE rule = {rule})",
    )
    return {("I7", "Order 'zz'"), ("I1", f"Order '{key}'")}


def one_record_for_two(it: Broken) -> Expected:
    key, rule = it.order, it.rule("Order")
    it.run(
        "INSERT INTO entity (type, key, rule, stub, attributes, record, valid, seq) "
        "SELECT type, 'zz', rule, stub, attributes, record, valid, seq FROM entity "
        f"WHERE rule = {rule} AND key = '{key}'"
    )
    return {("I7", "Order 'zz'"), ("I7", f"record '{key}'")}


def type_of_another(it: Broken) -> Expected:
    key, rule = it.order, it.rule("Order")
    it.run(
        "INSERT INTO entity (type, key, rule, stub, attributes, seq) "
        f"VALUES ('Person', '{key}99', {rule}, true, '{{}}', 1)"
    )
    return {("I7", f"Person '{key}99'")}


FAULTS: list[Callable[[Broken], Expected]] = [
    stub_removed, described_end_removed, led_nowhere,
    described_by_nobody, described_by_a_tombstone, stated_by_a_tombstone, stub_of_nothing,
    other_attributes, other_name, relation_removed, relation_added, other_qualifiers, talking_stub,
    loser_unmarked, winner_of_nothing, two_winners, loser_without_winner,
    other_key_column, other_key_column_in_the_past, other_valid_time, duplicate_unmarked,
    marked_as_a_duplicate, seen_before_it_was_seen, overlapping_reigns, gap_between_reigns,
    nobody_reigns, an_older_one_reigns,
    line_removed, last_line_removed, head_set_back, record_beyond, past_beyond, fact_beyond,
    two_mappings, sleeping_rule, bent_rule, rule_removed, fact_of_no_rule, key_of_another,
    one_record_for_two, type_of_another,
]  # fmt: skip
