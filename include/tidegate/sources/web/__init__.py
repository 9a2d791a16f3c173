"""What REST and WebSocket sources share: where a connection leads, and how it signs in.

::

    address      a connection → protocol, host and port; which other places it may lead to: none
    credentials  headers and parameters that carry secrets; and keeping these out of texts
    templates    values put into bodies and messages, and found in them
    backoff      waits that grow, at random, until patience ends
"""
