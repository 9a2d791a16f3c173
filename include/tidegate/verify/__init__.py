"""Is the store what the source says, and if not, make it so: what no cursor can see.

``verification``  one pass over a stream, that can be killed anywhere and goes on where it was
``chunks``        sources that hash: counts and XORs by ranges of keys; lists only what differs
``pages``         the others: keys and hashes, page by page
``mending``       what seems to differ is looked at again, and read again by the ordinary path

Compared is what lies below the watermark: there the store claims to be complete. What changes while
a verification runs is stamped above it, and is no difference. Rows that are gone become tombstones
at the end of the pass, under a brake (:mod:`tidegate.deletes`).

>>> from tidegate.verify import verify
>>> verify(job).verified
True
"""

from tidegate.verify.verification import Result, verify

__all__ = ["Result", "verify"]
