"""What this Python lacks is said in one sentence: every script imports this first.

Any Python 3 has to understand this file.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - which is the question
    found = ".".join(map(str, sys.version_info[:3]))
    print(f"{sys.executable}: Python {found}, expected 3.11 or newer; use another", file=sys.stderr)
    sys.exit(2)


def _say_what_is_missing(kind, error, traceback):
    """In place of a traceback where a package is not installed."""
    if not issubclass(kind, ModuleNotFoundError):
        return _usual(kind, error, traceback)
    print(
        f"{sys.argv[0]}: the package {error.name!r} is not installed for {sys.executable}; use "
        ".venv/bin/python, which `make demo` makes, or `pip install -r requirements.txt`",
        file=sys.stderr,
    )
    sys.exit(2)


_usual, sys.excepthook = sys.excepthook, _say_what_is_missing
