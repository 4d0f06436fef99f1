"""`python -m weightsearch`."""

from weightsearch.commands.main import main

main()
