"""The commands of instructors: a class folder from release to export."""

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

from autograder import curriculum
from autograder.errors import UserError


def add_commands(subparsers) -> None:
    """Add this part's commands to the `lsml` command line."""
    _add_class(subparsers)

    release = _command(subparsers, "release", _release, "release modules to a class, through nbgrader")
    release.add_argument("modules", nargs="+", metavar="MODULE")
    release.add_argument("--bundle", type=Path, metavar="FILE",
                         help="make a zip for people without make or git instead; needs no class")  # fmt: skip
    release.add_argument("--due", metavar="TIME", help='such as "2026-12-01 23:59 +0100"; no zone: the class\'s')

    collect = _command(subparsers, "collect", _collect, "collect submissions from the exchange or a platform's export")
    collect.add_argument("module", metavar="MODULE")
    collect.add_argument("--from", dest="source", type=Path, metavar="PATH", help="zip or folder of submissions")
    collect.add_argument("--times", type=Path, metavar="CSV", help="when they were handed in: id, email or name; time")
    collect.add_argument("--undo", action="store_true", help="take back the last collection of the module")

    autograde = _command(subparsers, "autograde", _autograde, "grade what was handed in")
    autograde.add_argument("modules", nargs="*", metavar="MODULE", help="all that have submissions by default")
    _grading_options(autograde)

    feedback = _command(subparsers, "feedback", _feedback, "write the feedback pages, through nbgrader")
    feedback.add_argument("modules", nargs="*", metavar="MODULE")
    feedback.add_argument("--student", metavar="ID")
    feedback.add_argument("--release", action="store_true", help="put them into nbgrader's exchange too")

    export = _command(subparsers, "export", _export, "write the grades as CSV for Canvas or Moodle")
    export.add_argument("modules", nargs="*", metavar="MODULE")
    export.add_argument("--format", choices=("canvas", "moodle"), default="canvas")
    export.add_argument("--output", type=Path, metavar="FILE", help="FORMAT.csv by default")

    status = _command(subparsers, "status", _status, "students by modules")
    status.add_argument("modules", nargs="*", metavar="MODULE")

    report = _command(subparsers, "report", _report, "write the class report: a page and its tables as CSV")
    report.add_argument("modules", nargs="*", metavar="MODULE")

    similar = _command(subparsers, "similar", _similar, "pairs of submissions that share more code than is usual")
    similar.add_argument("module", metavar="MODULE")

    extend = _command(subparsers, "extend", _extend, "give a student more time")
    extend.add_argument("module", metavar="MODULE")
    extend.add_argument("student", metavar="STUDENT")
    extend.add_argument("--days", type=float, required=True, metavar="N", help="after the due date; 0 takes it back")

    regrade = _command(subparsers, "regrade", _regrade, "list requests and faults; grade submissions again")
    regrade.add_argument("module", nargs="?", metavar="MODULE")
    regrade.add_argument("students", nargs="*", metavar="STUDENT")
    regrade.add_argument("--ask", metavar="WHY", help="put the submission on the list instead")
    regrade.add_argument("--answer", metavar="TEXT", help="answer the student's requests on the feedback page instead")
    _grading_options(regrade, force=False, student=False)

    demo = subparsers.add_parser("demo", help="make a small class, grade it, write its feedback")
    demo.add_argument("folder", nargs="?", type=Path, default=curriculum.ROOT / "demo", metavar="FOLDER")
    demo.set_defaults(run=_guarded(_demo))


def _command(subparsers, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=text)
    parser.add_argument("-C", "--class", dest="folder", type=Path, default=Path("."), metavar="FOLDER",
                        help="the class folder; this one by default")  # fmt: skip
    parser.set_defaults(run=_guarded(run))
    return parser


def _grading_options(parser, force: bool = True, student: bool = True) -> None:
    if student:
        parser.add_argument("--student", action="append", metavar="ID", help="only this one; may be repeated")
    if force:
        parser.add_argument("--force", action="store_true", help="grade again what was graded before")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one a CPU by default")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask scheduler, tls://HOST:PORT; see docs/clusters.md"
    )
    for part in ("ca-file", "cert", "key"):
        parser.add_argument(f"--tls-{part}", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="one JSON object a submission, a line each")
    parser.add_argument("--wait", action="store_true", help="wait while another run is at work in this class")


def _add_class(subparsers) -> None:
    group = subparsers.add_parser("class", help="make, set up or open a class folder")
    actions = group.add_subparsers(metavar="ACTION", required=True)

    new = actions.add_parser("new", help="make a class folder")
    new.add_argument("folder", type=Path, metavar="FOLDER")
    new.add_argument("--modules", nargs="+", default=[], metavar="MODULE", help="release these at once")
    new.add_argument("--course", metavar="ID", help="nbgrader's course id; the folder's name by default")
    new.add_argument("--timezone", default="UTC", metavar="ZONE", help="such as Europe/Paris; UTC by default")
    new.add_argument("--roster", type=Path, metavar="CSV", help="id, first_name, last_name, email, lms_user_id")
    new.add_argument("--db", metavar="URL", help="such as postgresql://user@host/gradebook; SQLite by default")
    new.add_argument("--exchange", type=Path, metavar="FOLDER", help="nbgrader's exchange, which must exist")
    new.set_defaults(run=_guarded(_class_new))

    roster = actions.add_parser("roster", help="read a class list into the gradebook")
    roster.add_argument("folder", type=Path, metavar="FOLDER")
    roster.add_argument("csv", type=Path, metavar="CSV")
    roster.set_defaults(run=_guarded(_class_roster))

    remove = actions.add_parser("remove", help="take a student out of the class")
    remove.add_argument("folder", type=Path, metavar="FOLDER")
    remove.add_argument("student", metavar="STUDENT")
    remove.add_argument("--force", action="store_true", help="also where there are grades, which go too")
    remove.set_defaults(run=_guarded(_class_remove))

    options = actions.add_parser("set", help="choose the class's policies")
    options.add_argument("folder", type=Path, metavar="FOLDER")
    options.add_argument("--resubmissions", choices=("last", "best"), help="which of a student's counts")
    options.add_argument("--canvas-id", action="append", default=[], metavar="MODULE=ID",
                         help="the number of the module's assignment in Canvas; may be repeated")  # fmt: skip
    options.set_defaults(run=_guarded(_class_set))

    lab = actions.add_parser("lab", help="open JupyterLab where formgrader works")
    lab.add_argument("folder", type=Path, metavar="FOLDER")
    lab.add_argument("--no-browser", action="store_true", help="print the address and open no browser")
    lab.set_defaults(run=_guarded(_class_lab))


def _guarded(run):
    """A full disk or a forbidden folder is a person's to mend, whatever the command was doing."""

    def guarded(arguments) -> int:
        try:
            return run(arguments) or 0
        except OSError as error:
            mendable = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
            if error.errno not in mendable:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise UserError(f"{where}{error.strerror}; mend that and run the command again to go on") from error

    return guarded


def _open(arguments):
    from autograder.classroom.folder import ClassFolder

    return ClassFolder(arguments.folder)


def _modules(wanted: list[str]) -> list[str]:
    return list(dict.fromkeys(curriculum.resolve(module) for module in wanted))


def _class_new(arguments) -> int:
    from autograder.classroom import roster
    from autograder.classroom.folder import ClassFolder
    from autograder.classroom.release import release

    modules = _modules(arguments.modules)
    if arguments.roster:
        roster.read(arguments.roster)
    if arguments.exchange and not arguments.exchange.is_dir():
        raise UserError(f"no such folder for the exchange: {arguments.exchange}")
    folder = ClassFolder.new(arguments.folder, arguments.course, arguments.db, arguments.exchange, arguments.timezone)
    with folder.gradebook():
        pass  # nbgrader makes its tables when the gradebook is first opened
    if arguments.roster:
        print(_count(roster.enter(folder, arguments.roster), "student"))
    for module in modules:
        print(f"released {release(folder, module)}")
    if arguments.exchange:
        print(f"nothing is in the exchange yet: `lsml release MODULE` puts it there, for the course {folder.course!r}")
    print(f"the class is in {folder.path}")
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _class_roster(arguments) -> int:
    from autograder.classroom import roster

    print(_count(roster.enter(_open(arguments), arguments.csv), "student"))
    return 0


def _class_remove(arguments) -> int:
    from autograder.classroom.removal import remove

    print(remove(_open(arguments), arguments.student, arguments.force))
    return 0


def _class_set(arguments) -> int:
    folder = _open(arguments)
    canvas = dict(folder.options.get("canvas_ids", {}))
    for given in arguments.canvas_id:
        module, _, number = given.partition("=")
        if not number.isascii() or not number.isdigit():
            raise UserError(f"--canvas-id {given}: write it as 01=12345, the number in the assignment's address")
        canvas[curriculum.resolve(module)] = number
    if not arguments.resubmissions and not arguments.canvas_id:
        raise UserError("nothing to set: give --resubmissions or --canvas-id")
    if arguments.resubmissions:
        folder.set_options(resubmissions=arguments.resubmissions)
        print(
            f"of a student's submissions of a module the {arguments.resubmissions} counts; "
            "run `lsml autograde` to apply it"
        )
    if arguments.canvas_id:
        folder.set_options(canvas_ids=canvas)
        print("in Canvas: " + ", ".join(f"{module} is assignment {number}" for module, number in canvas.items()))
    return 0


def _class_lab(arguments) -> int:
    folder = _open(arguments)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.path}"]
    command += ["--no-browser"] if arguments.no_browser else []
    command += ["--allow-root"] if os.geteuid() == 0 else []
    folder.app  # noqa: B018 - a configuration that cannot be loaded is said here, and not ignored there
    # nbgrader reads its configuration from the working directory, and goes on without it where it is broken.
    strict = {"PATH": _path(), "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR": "1"}
    return subprocess.call(command, cwd=folder.path, env=os.environ | strict)


def _path() -> str:
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])


def _release(arguments) -> int:
    from autograder.classroom import times
    from autograder.classroom.release import due_date, publish, release

    if arguments.bundle is not None:
        from autograder.authoring import bundle

        files = bundle.make(arguments.bundle, _modules(arguments.modules))
        print(f"{arguments.bundle}: {_count(len(files), 'file')}, no solutions and no hidden tests among them")
        return 0
    folder = _open(arguments)
    modules = _modules(arguments.modules)
    local = folder.zone
    due = None if arguments.due is None else times.parse(arguments.due, local)
    for module in modules:
        print(f"released {release(folder, module, due)}")
        stored = due_date(folder, module)
        print(f"  due {times.show(stored, local)}" if stored else "  no due date: `--due TIME` sets one")
        if where := publish(folder, module):
            print(f"  students can fetch it from {where}")
        else:
            print("  give this file to your students: this class has no exchange")
    return 0


def _collect(arguments) -> int:
    from autograder.classroom import record, roster
    from autograder.classroom.collect import collect_download, collect_exchange
    from autograder.classroom.platforms import People

    folder = _open(arguments)
    module = curriculum.resolve(arguments.module)
    if arguments.undo:
        return _undo(folder, module)
    if arguments.times and not arguments.source:
        raise UserError("--times goes with --from: the exchange knows when its submissions came")
    with folder.lock():
        with folder.gradebook() as book:
            record.find_notebook(book, module)
            came = roster.read_times(arguments.times, People(book.students), folder.zone) if arguments.times else {}
        if arguments.source is None:
            found = collect_exchange(folder, module)
        else:
            found = collect_download(folder, module, arguments.source, came)
    for line in found.lines:
        print(line, file=sys.stderr)
    before = f"; {len(found.unchanged)} more as they were" if found.unchanged else ""
    total = _count(len(folder.submitted(module)), "student")
    print(f"collected {module} of {_count(len(found.students), 'student')}{before}; submitted/ has that of {total}")
    return 0


def _undo(folder, module: str) -> int:
    from autograder.classroom.removal import take_back

    with folder.lock():
        for line in take_back(folder, module):
            print(line)
    return 0


def _engine(arguments, submissions: int):
    from autograder.classroom.engine import DaskEngine, LocalEngine

    if arguments.workers is not None and arguments.workers < 1:
        raise UserError("--workers must be at least 1")
    tls = {
        "tls_ca_file": arguments.tls_ca_file,
        "tls_client_cert": arguments.tls_cert,
        "tls_client_key": arguments.tls_key,
    }
    if arguments.scheduler:
        if arguments.scheduler.startswith("tcp://"):
            print("lsml: tcp:// is neither encrypted nor closed to others who reach it", file=sys.stderr)
        return DaskEngine(scheduler=arguments.scheduler, tls={key: value for key, value in tls.items() if value})
    # For a few notebooks, starting a cluster would take longer than grading them.
    workers = arguments.workers or min(os.cpu_count() or 1, max(1, submissions // 4))
    return LocalEngine() if workers == 1 else DaskEngine(workers=workers)


def _run(folder, modules: list[str], students, arguments, force: bool) -> int:
    from autograder.classroom import progress
    from autograder.classroom.autograde import autograde, plan
    from autograder.classroom.scratch import scratch

    planned = plan(folder, modules, students)
    total = sum(map(len, planned.values()))
    for line in folder.skipped():
        print(line, file=sys.stderr)
    console = progress.stdout()
    with (
        folder.lock(wait=arguments.wait),
        scratch(),
        _engine(arguments, total) as engine,
        progress.bar(total, "grading", arguments.json) as tell,
    ):
        summary = autograde(folder, planned, engine, force=force, tell=tell)
    if not arguments.json:
        progress.summary(summary, console)
    return 1 if summary.faults else 0


def _autograde(arguments) -> int:
    folder = _open(arguments)
    modules = _modules(arguments.modules) or folder.modules_submitted()
    if not modules:
        raise UserError(f"nobody has handed in anything: {folder.path / 'submitted'} is empty")
    return _run(folder, modules, arguments.student, arguments, arguments.force)


def _feedback(arguments) -> int:
    from autograder.classroom.feedback import generate, release_feedback

    folder = _open(arguments)
    modules = _modules(arguments.modules) or [name for name in curriculum.names() if folder.graded(name)]
    if not modules:
        raise UserError(f"nothing is graded yet in {folder.path}; run `lsml autograde` first")
    for module in modules:
        _renew_penalties(folder, [module])
        pages = generate(folder, module, arguments.student)
        print(f"{_count(len(pages), 'page')} in {folder.path / 'feedback'}/STUDENT/{module}/{module}.html")
        for one in _disagreements(folder, [module]):
            if arguments.student in (None, one.student):
                print(f"{one.student}, {one.question}: {one.what}", file=sys.stderr)
        if arguments.release:
            for line in release_feedback(folder, module, arguments.student):
                print(line, file=sys.stderr)
    return 0


def _renew_penalties(folder, modules: list[str]) -> None:
    """A due date or a penalty may have changed since the last `lsml autograde`."""
    from autograder.classroom import penalties

    with folder.lock(), folder.gradebook() as book:
        penalties.renew(folder, book, modules)


def _export(arguments) -> int:
    from autograder.classroom import roster, status
    from autograder.classroom.export import FORMATS

    folder = _open(arguments)
    modules = _modules(arguments.modules)
    kind = FORMATS[arguments.format]
    exporter = kind(parent=folder.app)
    exporter.to = str(arguments.output or kind.default_name)
    exporter.assignment = modules
    _renew_penalties(folder, modules or curriculum.names())
    ungraded = {(one, module) for module in modules or curriculum.names() for one in status.ungraded(folder, module)}
    exporter.ungraded = ungraded
    exporter.canvas_ids = folder.options.get("canvas_ids", {})
    with folder.gradebook() as book:
        exporter.export(book)
        strangers = sorted({student.id for student in book.students} - roster.listed(folder))
    print(f"wrote {exporter.to}")
    if exporter.waiting:
        print(f"{_count(exporter.waiting, 'score')} left blank: what waits for a person or was handed in since it was "
              "graded has none (`lsml status`)")  # fmt: skip
    if exporter.unnumbered:
        print(f"Canvas makes a new assignment of {', '.join(exporter.unnumbered)}: "
              "`lsml class set FOLDER --canvas-id 01=12345` names yours")  # fmt: skip
    if strangers and roster.listed(folder):
        print(f"not in roster.csv: {', '.join(strangers)} (`lsml class remove` takes them out)")
    return 0


def _status(arguments) -> int:
    from autograder.classroom import progress, requests, status

    folder = _open(arguments)
    found = status.read(folder, _modules(arguments.modules) or None)
    if not found.modules:
        raise UserError(f"no module is released in {folder.path}; run `lsml release MODULE`")
    progress.stdout().print(status.table(found, f"{folder.course}: {folder.path}"))
    if asked := [one for one in requests.requests(folder) if one.module in found.modules]:
        progress.stdout().print(_asked(asked))
    if differing := _disagreements(folder, found.modules):
        rows = [(one.student, one.module, one.question, one.what) for one in differing]
        columns = ("student", "module", "question", "what")
        progress.stdout().print(_listed("marks of a rubric that are not the score", columns, rows))
    return 0


def _disagreements(folder, modules: list[str]):
    from autograder.classroom import marks

    with folder.gradebook() as book:
        return marks.disagreements(book, modules)


def _asked(asked):
    rows = [(one.student, one.module, one.exercise or "all", one.why, one.when) for one in asked]
    return _listed("asked for another look", ("student", "module", "exercise", "why", "when"), rows)


def _listed(title: str, columns, rows):
    """Rows of other people's text as a table."""
    from rich.table import Table

    from autograder.classroom.status import shown

    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(shown, row))
    return made


def _report(arguments) -> int:
    from autograder.classroom import overview

    folder = _open(arguments)
    page, *tables = overview.write(folder, _modules(arguments.modules) or None)
    print(f"{page}\n{len(tables)} tables as CSV beside it")
    return 0


def _similar(arguments) -> int:
    from autograder.classroom import progress, similar
    from autograder.files import write_atomically

    folder, name = _open(arguments), curriculum.resolve(arguments.module)
    found = similar.find(folder, name)
    page = folder.path / "similar" / f"{name}.html"
    write_atomically(page, similar.render(found, curriculum.load(name)), mode=0o600)  # it names students
    progress.stdout().print(similar.table(found) if found else "No two submissions share more than is usual.")
    print(f"side by side: {page}")
    return 0


def _extend(arguments) -> int:
    from autograder.classroom.extend import extend

    module = curriculum.resolve(arguments.module)
    print(extend(_open(arguments), module, arguments.student, arguments.days))
    return 0


def _regrade(arguments) -> int:
    from rich.table import Table

    from autograder.classroom import progress, requests, status
    from autograder.classroom.status import shown

    folder = _open(arguments)
    if arguments.module is None:
        found = status.faults(status.read(folder, reports=True))
        asked = requests.requests(folder)
        if not found and not asked:
            print("nothing waits for another look")
        if asked:
            progress.stdout().print(_asked(asked))
        if found:
            table = Table("student", "module", "why", header_style="bold")
            for row in found:
                table.add_row(*map(shown, row))
            progress.stdout().print(table)
        return 0
    module = curriculum.resolve(arguments.module)
    if arguments.ask is not None:
        if not arguments.students:
            raise UserError("whose? write `lsml regrade MODULE STUDENT --ask WHY`")
        for student in arguments.students:
            if not folder.submission(student, module).parent.is_dir():
                raise UserError(f"{student!r} has handed in nothing for {module}")
        for student in arguments.students:
            requests.ask(folder, module, student, arguments.ask)
        return 0
    if arguments.answer is not None:
        if not arguments.students:
            raise UserError("whose? write `lsml regrade MODULE STUDENT --answer TEXT`")
        for student in arguments.students:
            names = requests.answer(folder, module, student, arguments.answer)
            print(f"{student}: answered beside {', '.join(names)}; `lsml feedback` writes the page")
        return 0
    result = _run(folder, [module], arguments.students, arguments, force=True)
    requests.settle(folder, module, arguments.students or folder.submitted(module))
    return result


def _demo(arguments) -> int:
    from autograder.classroom.demo import demo

    return demo(arguments.folder)
