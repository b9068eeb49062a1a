"""What keeps the pipeline fast and honest, each a script: `python -m checks.NAME`."""

import environment  # noqa: F401 - says in a sentence what this Python lacks
