"""The knowledge layer: what the live records mean by the mapping in force.

``mapping``    which mapping is in force, and its rules; ``vocabulary`` the declared words
``projection`` what a commit touched, into ``entities`` and ``relations``; ``conflicts`` the votes
``projecting`` what that takes; ``jsontext`` JSON in the SQL of both databases
``bulk``       the first relations of a store, without indexes meanwhile
``derive``     another mapping: everything anew, beside the running loads
"""
