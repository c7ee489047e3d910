"""`lsml book`."""

from autograder import curriculum


def add_commands(subparsers) -> None:
    """Add `book` to the command line."""
    book = subparsers.add_parser("book", help="make a static site of the course, unsolved, in build/book/html")
    book.add_argument("modules", nargs="*", metavar="MODULE", help="such as 01; all by default")
    book.set_defaults(run=_book)


def _book(arguments) -> int:
    from autograder.book.site import build

    root = curriculum.ROOT
    names = sorted({curriculum.resolve(module, root) for module in arguments.modules}) or curriculum.names(root)
    index = build(names, root, say=lambda line: print(line, flush=True))
    print(f"open {index.relative_to(root)}; any static server can serve its folder")
    return 0
