"""SQL sources: typed pages by keyset, from a read-only session that disturbs nobody.

``reading``    the source: slices of a table, page by page    ``bound``     how far is complete
``keyset``     the queries of one slice                       ``moments``   times as columns hold them
``catalogue``  tables, columns, indexes; what is missing      ``session``   one connection, its errors
``page``       driver rows → an Arrow page with bookkeeping   ``cells``     one column of driver values
``fitting``    one value, made to fit its declared type or refused with a reason
``dialect``    what differs between servers: ``mysql``, ``postgres``, ``sqlite``
"""
