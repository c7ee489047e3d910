"""The `lsml` command. Each part of the autograder brings its own commands; this file only collects them."""

import sys

from autograder import interrupts

PARTS = ("authoring", "proving", "grading", "desk", "classroom", "book")


def parser():
    """The whole command line, an argparse.ArgumentParser with one subcommand a feature."""
    import argparse
    import importlib

    import lsml_utils

    top = argparse.ArgumentParser(prog="lsml", description="Build, take and grade the large-scale ML course.")
    top.add_argument("--version", action="version", version=f"lsml {lsml_utils.__version__}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for part in PARTS:
        importlib.import_module(f"autograder.{part}.commands").add_commands(subparsers)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 we failed, 2 bad usage or bad input, 130 interrupted."""
    try:
        with interrupts.at_once():
            arguments = parser().parse_args(argv)
        return _run(arguments)
    except KeyboardInterrupt:
        print(interrupts.MESSAGE, end="", file=sys.stderr)
        return interrupts.INTERRUPTED


def _run(arguments) -> int:
    from autograder.errors import UserError
    from autograder.printing import printable

    try:
        return arguments.run(arguments) or 0
    except UserError as error:
        print("lsml:", "\n".join(map(printable, str(error).splitlines())), file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
