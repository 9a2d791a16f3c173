"""Named points of the product where a test may let things go wrong. Nothing happens unless asked.

``TIDEGATE_FAULT=load.before_commit:kill`` ends the process there by SIGKILL, ``:stop`` by SIGSTOP,
``:fail`` raises OSError. ``:kill:3`` waits for the third time that the point is passed. Several
faults are separated by commas.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "TIDEGATE_FAULT"
POINTS = (
    "pull.leased", "rabbitmq.taken", "rabbitmq.kept", "rabbitmq.acknowledged", "pull.observed",
    "pull.page", "pull.read", "pull.staged", "clean.staged", "validate.staged", "load.copied",
    "load.begun", "load.merged", "load.before_commit", "load.after_commit", "verify.chunk",
    "verify.before_repair",
)  # fmt: skip
"""Every name there is, in the order of a run."""
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_passed: dict[str, int] = {}


def point(name: str) -> None:
    """The program is at *name* now."""
    if wanted := os.environ.get(VARIABLE):
        _strike(name, wanted)


def _strike(name: str, wanted: str) -> None:
    _passed[name] = _passed.get(name, 0) + 1
    for fault in wanted.split(","):
        place, _, rest = fault.partition(":")
        action, _, time = rest.partition(":")
        if place != name or _passed[name] != int(time or 1):
            continue
        if action in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[action])
        else:
            raise OSError(f"{VARIABLE} asked for a failure at {name}")
