"""Tidegate and its peers side by side: the same table, the same changes, the same machine."""
