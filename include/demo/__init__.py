"""The demonstration: a small living shop, a private Airflow, and a table that watches both.

Nothing here is imported by Tidegate. ``python -m demo`` is what ``make demo`` starts;
``python -m demo.commerce`` and ``demo.community`` write what the two cases read (include/cases).
"""
