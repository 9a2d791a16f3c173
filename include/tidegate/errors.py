"""Every error, named by what its reader should do.

::

    TidegateError
    ├── ConfigError          mend the pipeline file (or the settings)      not retried
    │   └── UndefinedConnectionError   define the connection                 not retried
    ├── UnavailableError     wait: the other side did not answer           retried
    ├── RefusedError         mend access: the other side said no           not retried
    ├── DataError            look at the rows                              not retried
    ├── OvertakenError       nothing to do: another run was faster         the run is skipped
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


class UnavailableError(TidegateError):
    """The other side did not answer in time; waiting may help."""


class RefusedError(TidegateError):
    """The other side answered no: a password, a privilege, a missing table."""


class DataError(TidegateError):
    """The rows are not what the pipeline file allows; look at them."""


class OvertakenError(TidegateError):
    """Another run moved the watermark first; nothing of this one was kept, nothing is lost."""


class MismatchError(TidegateError):
    """Two sides that must agree do not (staged file and digest, pulled and accounted rows)."""


class TrimmedError(TidegateError):
    """What is asked for lies before the store's horizon; start again from a snapshot."""
