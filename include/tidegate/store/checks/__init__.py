"""Seven invariants: what must always be true of a store, and how to mend it.

``invariants`` all seven; ``violations`` what is found
``drawn`` I1-I4, with ``shadow`` · ``bookkeeping`` I5 · ``numbering`` I6 · ``identity`` I7
``repair``     mends what was named; ``mending`` the records' part
"""
