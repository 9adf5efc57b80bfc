"""``python -m jgmm``: the command line."""

from jgmm.cli import main

if __name__ == "__main__":
    main()
