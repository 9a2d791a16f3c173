"""Where Tidegate keeps its own things. Read from the environment at call time, never at import.

==========================  ==================================================================
``TIDEGATE_HOME``           folder of the embedded store, staging, archive and suites;
                            default ``$AIRFLOW_HOME/tidegate``, else ``~/.tidegate``
``TIDEGATE_PIPELINES``      folder of the pipeline files; default ``include/pipelines`` beside us
``TIDEGATE_STAGE``          folder or URI for data between tasks, ``s3://connection@bucket/folder``
                            for several machines; default ``$TIDEGATE_HOME/stage``
``TIDEGATE_STAGE_DAYS``     days that staged data is kept after its run; default 3
``TIDEGATE_ARCHIVE``        folder or URI for what ``keep:`` moves out of the store;
                            default ``$TIDEGATE_HOME/archive``
``TIDEGATE_STORE_UPGRADE``  ``auto`` (default): a store of an older version is upgraded when it
                            is opened; ``refuse``: only by ``tidegate upgrade``
``TIDEGATE_LEASE_SECONDS``  after how long without a sign another run may take a stream over;
                            default 120
==========================  ==================================================================
"""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.errors import ConfigError

STORE_CONNECTION = "tidegate_store"


def home() -> Path:
    """The folder for everything local."""
    if configured := os.environ.get("TIDEGATE_HOME"):
        return Path(configured)
    if airflow := os.environ.get("AIRFLOW_HOME"):
        return Path(airflow) / "tidegate"
    return Path.home() / ".tidegate"


def pipelines() -> Path:
    """The folder of the pipeline files."""
    configured = os.environ.get("TIDEGATE_PIPELINES")
    return Path(configured) if configured else Path(__file__).parents[1] / "pipelines"


def stage_root() -> str:
    """URI under which increments are staged between tasks."""
    return os.environ.get("TIDEGATE_STAGE") or f"file://{home()}/stage"


def stage_days() -> float:
    """How long staged data stays for a look."""
    return float(os.environ.get("TIDEGATE_STAGE_DAYS") or 3)


def archive_root() -> str:
    """URI under which history and held rows go that the store need not keep."""
    return os.environ.get("TIDEGATE_ARCHIVE") or f"file://{home()}/archive"


def lease_seconds() -> float:
    """How long a run keeps a stream without a sign of life."""
    return float(os.environ.get("TIDEGATE_LEASE_SECONDS") or 120)


def upgrades_itself() -> bool:
    """Whether opening an older store may upgrade it. Raises ConfigError for any other word."""
    word = os.environ.get("TIDEGATE_STORE_UPGRADE") or "auto"
    if word not in {"auto", "refuse"}:
        raise ConfigError(f"TIDEGATE_STORE_UPGRADE is {word!r}. Write 'auto' or 'refuse'.")
    return word == "auto"
