"""``python -m jgmm``: the command line."""

from jgmm.cli.app import main

if __name__ == "__main__":
    main()
