"""What the user writes: one YAML file per source, and how it is read.

::

    reader         file → models, or what to mend, stream by stream
    ├── document   safe YAML → data that remembers its lines          syntax
    ├── models     what a file may say                                expect, expectations
    └── explain    what pydantic found, in plain words                places
    schema         the same for editors, as JSON Schema
"""
