"""Every error, named by what its reader should do.

::

    TidegateError
    ├── ConfigError          mend the pipeline file (or the settings)      not retried
    │   ├── UndefinedConnectionError   define the connection                 not retried
    │   └── DriftError       the source's columns changed: decide             not retried
    ├── UnavailableError     wait: the other side did not answer           retried
    │   └── ChangedError     the table changed while it was read             retried
    ├── RefusedError         mend access: the other side said no           not retried
    ├── DataError            look at the rows                              not retried
    │   └── BrakeError       too many rows would be deleted: look            not retried
    ├── OvertakenError       nothing to do: another run was faster         the run is skipped
    │   ├── BusyError        another run holds the stream now                the run is skipped
    │   └── FencedError      another run took the stream over                the run is skipped
    ├── LargeLoadError       begin it in chunks, who asked not to read so many: nothing was read
    ├── MismatchError        compare: two sides that must agree do not     not retried
    └── TrimmedError         start from a snapshot: that history is gone   not retried

A message reads "where: what is wrong, with the value. What would be right, or what to do."
Messages never hold a password: drivers' texts pass through ``Endpoint.scrub``.
"""

from __future__ import annotations


class TidegateError(Exception):
    """The root: everything Tidegate raises on purpose."""


class ConfigError(TidegateError):
    """A pipeline file or a setting is wrong; mend it."""


class UndefinedConnectionError(ConfigError):
    """A connection that a pipeline file names is defined nowhere."""


class DriftError(ConfigError):
    """The source's columns are not those that were agreed on, and ``drift:`` forbids to go on."""


class UnavailableError(TidegateError):
    """The other side did not answer in time; waiting may help."""


class ChangedError(UnavailableError):
    """The table's definition changed while it was read; a new read will see it whole."""


class RefusedError(TidegateError):
    """The other side answered no: a password, a privilege, a missing table."""


class DataError(TidegateError):
    """The rows are not what the pipeline file allows; look at them."""


class BrakeError(DataError):
    """More rows would be deleted than ``deletes:`` allows; nothing was."""


class OvertakenError(TidegateError):
    """Another run moved the watermark first; nothing of this one was kept, nothing is lost."""


class BusyError(OvertakenError):
    """Another run holds the stream's lease; it does what this one would have done."""


class FencedError(OvertakenError):
    """Another run took the stream over while this one did not stir."""


class LargeLoadError(TidegateError):
    """A first load has more rows than who asked for it wants in one run; nothing was read."""


class MismatchError(TidegateError):
    """Two sides that must agree do not (staged file and digest, pulled and accounted rows)."""


class TrimmedError(TidegateError):
    """What is asked for lies before the store's horizon; start again from a snapshot."""
