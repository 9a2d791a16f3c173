"""Incremental ETL into a knowledge store. Start reading at :mod:`tidegate.path`."""

__version__ = "0.1.0"
