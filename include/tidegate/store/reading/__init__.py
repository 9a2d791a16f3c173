"""What anybody may ask of the store, now and at any commit.

``library``    the questions; ``answers`` what comes back
``asof``       a commit and a moment; ``versions`` which versions hold then; ``facts`` what they say
``described``  one entity, and why; ``neighbours`` what surrounds it; ``searching`` by value
``feed``       changes commit by commit; ``diff`` between two; ``subscriptions`` their readers
"""
