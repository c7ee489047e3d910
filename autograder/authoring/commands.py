"""The commands of authors and of people who take the course: `lsml build`, `lsml new`, `lsml lab`."""

from autograder import curriculum


def add_commands(subparsers) -> None:
    """Add this part's commands to the `lsml` command line."""
    build = subparsers.add_parser("build", help="make course/ from solutions/")
    build.add_argument("modules", nargs="*", metavar="MODULE", help="such as 01 or 01_gradient_descent; all by default")
    build.add_argument("--check", action="store_true", help="write nothing; exit 1 and say where course/ differs")
    build.set_defaults(run=_build)

    new = subparsers.add_parser("new", help="start a module: notebook, hidden tests, answers that prove them")
    new.add_argument("name", metavar="NN_topic", help="two digits and a topic, such as 27_bandits")
    new.add_argument("title", metavar="TITLE", help='what the notebook is called, such as "Bandits"')
    new.set_defaults(run=_new)

    lab = subparsers.add_parser("lab", help="copy missing modules to work/ and open JupyterLab there")
    lab.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    lab.add_argument("--copy-only", action="store_true", help="copy missing modules, open nothing")
    grading = lab.add_mutually_exclusive_group()
    grading.add_argument("--no-grading", action="store_true", help="do not grade notebooks whenever they are saved")
    grading.add_argument(
        "--sandbox", choices=("bubblewrap", "none"), default="bubblewrap", help="'none' grades them without protection"
    )
    lab.set_defaults(run=_lab)


def _build(arguments) -> int:
    from autograder.authoring.build import build, differences, strays

    root = curriculum.ROOT
    names = [curriculum.resolve(module, root) for module in arguments.modules] or curriculum.names(root)
    stray = [] if arguments.modules else strays(root)
    if arguments.check:
        lines = differences(names, root) + stray
        print("\n".join(lines) or f"course/ is what solutions/ makes ({len(names)} modules)")
        if lines:
            print("run `lsml build` and commit course/")
        return 1 if lines else 0
    for path, changed in build(names, root):
        print(f"{path.relative_to(root)}  {'written' if changed else 'unchanged'}")
    for line in stray:
        print(line)
    return 0


def _new(arguments) -> int:
    from autograder.authoring.new import create

    for path in create(arguments.name, arguments.title, curriculum.ROOT):
        print(path.relative_to(curriculum.ROOT))
    print(f"next: lsml build {arguments.name}, then lsml calibrate {arguments.name}; docs/authoring.md tells the rest")
    return 0


def _lab(arguments) -> int:
    from autograder.authoring.work import copy_missing, open_lab

    root = curriculum.ROOT
    for path in copy_missing(root):
        print(f"copied {path.relative_to(root)}")
    if not arguments.copy_only:
        open_lab(root, not arguments.no_browser, "" if arguments.no_grading else arguments.sandbox)
    return 0
