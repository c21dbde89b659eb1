"""``python -m fluxa_fast`` is the ``fluxa-fast`` command."""

from .cli import main

main()
