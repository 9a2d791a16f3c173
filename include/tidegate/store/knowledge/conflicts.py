"""Where rules contradict each other: who wins, and the losers are marked.

An attribute has one value and a relation declared ``single`` has one target, whatever is said of
them. Of several the one with the larger trust wins, then the one valid since later, then the first
by stream, place in the mapping and record. Losers stay where they are: ``entity.outvoted`` holds
the winning value by attribute, ``relation.outvoted`` is true. A function of what is there; rules
that are not active have no voice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tidegate.store.knowledge import jsontext, mapping
from tidegate.store.knowledge.mapping import Rule
from tidegate.store.sqltext import Script


class Conflicts:
    """The rules that are read, and what is to be settled among them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.rules = mapping.active(script.connection)

    def settle(self, rule: Rule, keys: str) -> None:
        """Settle what is said of the entities of *rule* whose keys the query *keys* gives.

        For a relation: of the entities at its beginning.
        """
        if rule.kind == "entity":
            self._attributes(rule.type, keys)
        elif rule.single:
            self._targets(rule, keys)

    def settle_all(self, rules: Iterable[Rule]) -> None:
        """Settle everything that *rules* speak of, or spoke of before they were read no longer."""
        for rule in rules:
            if rule.kind == "entity":
                self.script.run(_FORGIVE, type=rule.type)
                self._attributes(rule.type, "SELECT key FROM entity WHERE type = :type")
            else:
                ids = _numbers(self._rivals(rule))
                self._targets(rule, f"SELECT from_key FROM relation WHERE rule IN ({ids})")

    def _attributes(self, type_: str, keys: str) -> None:
        rules = [rule for rule in self.rules if (rule.kind, rule.type) == ("entity", type_)]
        singles = {rule.id: rule.attributes.keys() - rule.many for rule in rules}
        told = Counter(name for names in singles.values() for name in names)
        contested = {
            number: sorted(name for name in names if told[name] > 1)
            for number, names in singles.items()
        }
        if not any(contested.values()):
            return
        which = " OR ".join(
            f"(e.rule = {number} AND a.key IN ({', '.join(map(jsontext.literal, names))}))"
            for number, names in contested.items()
            if names
        )
        lite = self.script.connection.dialect.name == "sqlite"
        pieces = {"keys": keys, "rules": _numbers(rules), "which": which}
        self.script.run(_OUTVOTE, {**pieces, **(_SQLITE if lite else _POSTGRES)}, type=type_)

    def _targets(self, rule: Rule, keys: str) -> None:
        pieces = {"keys": keys, "rules": _numbers(self._rivals(rule))}
        self.script.run(_OUTVOTE_TARGETS, pieces)

    def _rivals(self, rule: Rule) -> list[Rule]:
        wanted = ("relation", rule.type, rule.from_type, True)
        return [r for r in self.rules if (r.kind, r.type, r.from_type, r.single) == wanted]


def _numbers(rules: Iterable[Rule]) -> str:
    return ", ".join(str(rule.id) for rule in rules) or "NULL"


_POSTGRES = {
    "members": "jsonb_each(e.attributes) AS a",
    "value": "a.value",
    "said": "a.value <> 'null'",
    "marks": "jsonb_object_agg(name, won)",
}
_SQLITE = {
    "members": "json_each(e.attributes) AS a",
    "value": jsontext.ATOM.format("a"),
    "said": "a.type <> 'null'",
    "marks": "json_group_object(name, json(won))",
}

_FORGIVE = "UPDATE entity SET outvoted = NULL WHERE type = :type AND outvoted IS NOT NULL"

_OUTVOTE = """
UPDATE entity SET outvoted = s.marks FROM (
  SELECT e.key, e.rule, lost.marks FROM entity AS e LEFT JOIN (
    SELECT key, rule, {marks} AS marks FROM (
      SELECT e.key, e.rule, a.key AS name, {value} AS value, first_value({value}) OVER (
        PARTITION BY e.key, a.key
        ORDER BY u.trust DESC, e.valid DESC NULLS LAST, u.stream, u.place, e.record) AS won
      FROM entity AS e JOIN tidegate_rule AS u ON u.id = e.rule CROSS JOIN {members}
      WHERE e.type = :type AND e.stub = false AND e.key IN ({keys}) AND {said} AND ({which})
    ) AS told WHERE value <> won GROUP BY key, rule
  ) AS lost ON lost.key = e.key AND lost.rule = e.rule
  WHERE e.type = :type AND e.rule IN ({rules}) AND e.key IN ({keys})
) AS s
WHERE entity.type = :type AND entity.key = s.key AND entity.rule = s.rule
  AND entity.outvoted IS DISTINCT FROM s.marks
"""

_OUTVOTE_TARGETS = """
UPDATE relation SET outvoted = s.lost FROM (
  SELECT rule, record, n, to_key <> won AS lost FROM (
    SELECT r.rule, r.record, r.n, r.to_key, first_value(r.to_key) OVER (
      PARTITION BY r.from_key
      ORDER BY u.trust DESC, r.valid DESC NULLS LAST, u.stream, u.place, r.record, r.n) AS won
    FROM relation AS r JOIN tidegate_rule AS u ON u.id = r.rule
    WHERE r.rule IN ({rules}) AND r.from_key IN ({keys})
  ) AS said
) AS s
WHERE relation.rule = s.rule AND relation.record = s.record AND relation.n = s.n
  AND relation.outvoted <> s.lost
"""
