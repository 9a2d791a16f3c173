"""Property tests here make pages and run Arrow: no deadline, for a busy machine is not a bug."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("pages", deadline=None, max_examples=60)
settings.load_profile("pages")
