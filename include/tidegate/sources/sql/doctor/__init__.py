"""What may keep a stream from being read in full, told before its first run.

::

    checks    the table of all checks, and how they are made
    case      the stream at its source, ready to be looked at
    table     the table's definition: index, keys, view
    stamps    the cursor's definition: who stamps it, how finely, in which zone
    rows      the rows, by questions that are bounded
    rights    what the user may do, and how it is connected
    alter     one thing of a column changed, the rest as it was
    mysql     what only MariaDB and MySQL can tell
    postgres  what only PostgreSQL can tell
    sqlite    what SQLite can tell

A check is a function from a case to findings. It writes nothing, and asks no more of a large table
than an index can answer at once.
"""

from tidegate.sources.sql.doctor.case import Case
from tidegate.sources.sql.doctor.checks import blocking, examine, told
from tidegate.sources.sql.doctor.rows import estimate

__all__ = ["Case", "blocking", "estimate", "examine", "told"]
