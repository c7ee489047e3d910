"""The `lsml` command. Each part of the autograder brings its own commands; this file only collects them."""

import argparse
import importlib
import sys

from autograder.errors import UserError

PARTS = ("authoring", "proving", "grading", "classroom")


def parser() -> argparse.ArgumentParser:
    """The whole command line, one subcommand a feature."""
    top = argparse.ArgumentParser(prog="lsml", description="Build, take and grade the large-scale ML course.")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for part in PARTS:
        importlib.import_module(f"autograder.{part}.commands").add_commands(subparsers)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 we failed, 2 bad usage or bad input, 130 interrupted."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except UserError as error:
        print(f"lsml: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("lsml: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
