"""Questions asked of the pipeline, each a script: `python -m studies.NAME`."""

import environment  # noqa: F401 - says in a sentence what this Python lacks
