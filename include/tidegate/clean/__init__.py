"""Cleaning: small typed steps with pandas. A YAML block is a call: its key names the step.

::

    Cleaned = apply(page, columns, steps, lookup)     clean one pulled page
    columns = outline(columns, steps)                 what comes out, without any data
"""

from __future__ import annotations

from tidegate.clean.run import Cleaned, apply, outline

__all__ = ["Cleaned", "apply", "outline"]
