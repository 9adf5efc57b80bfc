"""The command line: commands, options, outputs, model files, the terminal.

Uses everything else.
"""

from jgmm.cli.app import main as main
