"""What a task returns is one XCom.

Of a function that returns a ``dict`` Airflow makes one more XCom of each key, each by a request of
its own to the API server: 0.2 s for what one of the path's steps hands on to the next.
"""

from __future__ import annotations

from typing import Any

WHOLE: dict[str, Any] = {"multiple_outputs": False}
"""For ``@task``."""
