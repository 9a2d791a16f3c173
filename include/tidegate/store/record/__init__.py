"""The record layer: a stream's two tables, and how versions get into them and out again.

``records``   names and columns of the tables; ``keytext`` keys as text; ``views`` for BI tools
``evolve``    the tables follow the stream's columns; ``layouts`` how rows are hashed and dated
``words``     what of a row is hashed, and ``siphash`` how
``staging``   Arrow pages into a temporary table; ``frames`` typed pages out of the tables
``merge``     the versioned upsert: older never overwrites newer; ``marks`` duplicates
``dating``    valid times, told anew; ``cells`` computed cells copied back
"""
