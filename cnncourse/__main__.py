"""``python -m cnncourse``: the command line, where its script is not on the path."""

from cnncourse.cli import main

main()
