"""`python -m gdo` is the command `gdo`."""

from gdo.cli.main import main

if __name__ == "__main__":
    main()
