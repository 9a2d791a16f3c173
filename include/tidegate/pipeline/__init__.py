"""What the user writes: one YAML file per source, and how it is read.

``models``    what a file may say              ``document``  safe YAML that remembers its lines
``reader``    file → models, or a clear error  ``schema``    JSON Schema for editors
"""
