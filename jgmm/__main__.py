"""``python -m jgmm``: the command line."""

import sys

from jgmm.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
