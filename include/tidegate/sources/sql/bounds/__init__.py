"""How far a stream is complete: the upper bound of a read, computed before the read.

A *safe moment* S of a server: every statement that began before S has ended, and so has its
transaction. A stamp is the time at which a statement (PostgreSQL: its transaction) began, so a row
that is not visible yet, and that the server stamps itself, is stamped S or later. What is below S
can be called complete. From the question to the server outwards::

    drain      MySQL, MariaDB: who is busy, who has a transaction open; a canary tells stale lists
    replicas   MySQL, MariaDB: whether it is a replica, be it a stopped one
    barrier    their safe moment, from one look to the next
    starts     PostgreSQL: the oldest start of an open transaction is its safe moment
    server     one look a second for all streams of a server
    stamping   whether the server itself stamps the cursor, and can see all who write the table
    samples    numbers: the largest one seen at a moment that is safe by now
    bound      all of it for one stream, and the fallback: the clock minus the lookback

Not covered, and never can be: stamps made by an application, by another server (replication), or
by ``SET timestamp``. For those there is ``lookback:``, and verification finds the rest.
"""
