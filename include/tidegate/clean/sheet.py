"""One step's hold on a page: what it reads, writes, holds and counts."""

from __future__ import annotations
