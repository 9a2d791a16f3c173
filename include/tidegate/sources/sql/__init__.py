"""SQL sources: typed pages by keyset, from a read-only session that disturbs nobody.

From the source inwards::

    reading    the source: what a run, a repair and a comparison ask for
    slices     which parts of the table a run reads
    lookup     rows by the texts of their keys
    chunks     ranges of keys, counted and hashed by the server
    plan       what is fetched of the table, and how it is sorted
    rowhash    a row's hash, computed by its database
    keyset     the queries of one slice, page by page
    position   key values, kept between two runs
    pressure   waits while the source is busy
    page       driver rows → an Arrow page with bookkeeping
    cells      one column of driver values → Arrow
    fitting    one value, made to fit its declared type or refused with a reason
    bounds     how far the stream is complete
    parts      rows that came by a statement which wrote none
    moments    times as a column holds them, and as a watermark keeps them
    catalogue  tables, columns, indexes, and what a stream misses there
    session    one read-only connection; its driver's errors end here
    dialect    what differs between servers: mysql, postgres, sqlite
    loaders    PostgreSQL's values that Python has no words for
"""
