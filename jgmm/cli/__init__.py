"""The command line: commands, options, outputs, model files, the terminal.

Uses everything else, but only when it runs: `main` answers to Ctrl-C before that is loaded.
"""

from jgmm.cli.entry import main as main
