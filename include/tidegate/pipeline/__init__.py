"""What the user writes: one YAML file per source, and how it is read.

::

    reader         file → models, or what to mend, stream by stream
    ├── document   safe YAML → data that remembers its lines          syntax
    ├── models     what a file may say                                expect, expectations
    │   ├── meaning     what rows mean: entities, relations           template
    │   └── vocabulary  the words that all sources share
    └── mistakes   data → model, or one message                       explain, places
    schema         the same for editors, as JSON Schema
"""
