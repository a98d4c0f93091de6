"""`python -m sm3.cli`: the `sm3` command where its script is not on the path."""

from sm3.cli import main

main()
