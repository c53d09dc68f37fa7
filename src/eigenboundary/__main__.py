"""``python -m eigenboundary``: the command line, as a launcher such as torchrun runs it."""

from eigenboundary.cli import main

if __name__ == "__main__":
    main()
