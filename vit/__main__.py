"""`python -m vit` is the `vit` command."""

from vit.cli import main

if __name__ == "__main__":
    main()
