"""``python -m jgmm``: the command line."""

import sys

from jgmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
