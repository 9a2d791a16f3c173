"""What columns are called that tell when a row changed, or that it is deleted."""

from __future__ import annotations

import re

CHANGED = re.compile(r"updated|modified|changed|mtime|last_?(update|change|modif)", re.IGNORECASE)
DELETED = re.compile(r"^(is_?)?(deleted|removed)(_?(at|on|time))?$", re.IGNORECASE)
