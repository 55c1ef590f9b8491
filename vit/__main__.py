"""`python -m vit` is `vit`."""

from vit.cli import main

main()
