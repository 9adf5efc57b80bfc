"""The command line from its first moment on; the rest is loaded when the process is settled."""

from __future__ import annotations

from collections.abc import Sequence

from jgmm.cli import process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; None means those of the process.

    Returns:
        The exit status: 0, 2 after what the user can mend, 1 after an internal error, 141 where
        nobody reads on.
    """
    process.open_streams()
    process.end_at_once_on_signals()
    try:
        process.settle_environment()
        from jgmm.cli import app
    except Exception as error:  # JAX looks at its settings while it is imported
        if process.debugging():
            import traceback

            traceback.print_exception(error)
        process.complain(f"cannot start in this environment: {error}")
        return process.MENDABLE
    return app.main(arguments)
