"""SQL sources: typed pages by keyset, from a read-only session that disturbs nobody.

From the source inwards::

    reading    the source: which slices of its table a run reads
    plan       what is fetched of the table, and how it is sorted
    keyset     the queries of one slice, page by page
    page       driver rows → an Arrow page with bookkeeping
    cells      one column of driver values → Arrow
    fitting    one value, made to fit its declared type or refused with a reason
    bounds     how far the stream is complete
    moments    times as a column holds them, and as a watermark keeps them
    catalogue  tables, columns, indexes, and what a stream misses there
    session    one read-only connection; its driver's errors end here
    dialect    what differs between servers: mysql, postgres, sqlite
"""
