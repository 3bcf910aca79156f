"""`python -m rlaif`."""

from rlaif.cli import main

main()
