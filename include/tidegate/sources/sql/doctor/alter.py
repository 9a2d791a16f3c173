"""How MariaDB and MySQL are told to change one thing of a column, and nothing else."""

from __future__ import annotations

import re

from tidegate.sources.sql.doctor.case import Case

_DEFINITION = re.compile(
    r"^(?P<text>(?: CHARACTER SET \w+)?(?: COLLATE \w+)?)(?P<null>(?:(?: NOT)? NULL)?)"
    r"(?: DEFAULT NULL)?(?P<more>.*?),?$"
)


def altered(case: Case, name: str, **changed: str) -> str:
    """Column *name* as SHOW CREATE TABLE has it, in one line, but for its *text* or its *null*.

    MODIFY forgets whatever it does not say: a default, a comment, a character set.
    """

    def change(found: re.Match[str]) -> str:
        return "{text}{null}{more}".format_map(found.groupdict() | changed)

    session, declared = case.session, case.plan.native(name).declared
    show = f"SHOW CREATE TABLE {case.full}".replace("%", "%%")
    with session.translated():
        lines = str(session.connection.exec_driver_sql(show).one()[1]).splitlines()
    mark = f"  `{case.own(name).replace('`', '``')}` "
    (line,) = (line.removeprefix(mark) for line in lines if line.startswith(mark))
    definition = declared + _DEFINITION.sub(change, line.removeprefix(declared))
    return f"ALTER TABLE {case.full} MODIFY {case.column(name)} {definition};"
