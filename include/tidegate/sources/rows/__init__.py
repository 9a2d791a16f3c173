"""What kinds of sources share: values of any kind → typed pages.

::

    records  values (documents, messages, lines) → pages of declared columns
    page     columns of values → an Arrow page with bookkeeping
    cells    one column of values → Arrow
    fitting  one value, made to fit its declared type or refused with a reason
    naming   what columns are called that tell of changes
    basis    a source that does what most of them do alike
    clocks   the clock of a server beside ours, for bounds by time
"""
