"""JupyterHub for one class on one Linux machine, where everybody is a system user. docs/hub.md explains each line."""

import grp
import os
import sys
from pathlib import Path

from autograder.curriculum import ROOT

c = get_config()  # noqa: F821

# Yours to change.
MEMBERS = "ml2026"  # the system group of those who may log in: students and instructors
INSTRUCTOR = "grace"  # the system user who owns the class folder and grades
CLASS_FOLDER = "ml2026"  # its name in the instructor's home folder
ASSISTANTS = set()  # further members who may open the instructor's server, and with it formgrader
STATE = Path("/srv/jupyterhub")  # the hub's own files; only root may read them

# Who reads these folders has the answers and the hidden tests. Only their group may; students are not in it.
for folder in (ROOT / name for name in ("solutions", "tests", "benchmarks", "demo", ".git")):
    if folder.exists():
        status = folder.stat()
        if status.st_mode & 0o007 or (status.st_mode & 0o070 and status.st_gid == grp.getgrnam(MEMBERS).gr_gid):
            sys.exit(f"{folder} is open to students; run: chgrp {INSTRUCTOR} {folder} && chmod 750 {folder}")

# What somebody writes is readable by them alone, unless they or nbgrader say otherwise.
os.umask(0o077)

PROGRAMS = Path(sys.executable).parent
c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # a web server in front of it speaks HTTPS
c.JupyterHub.db_url = f"sqlite:///{STATE / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")
c.ConfigurableHTTPProxy.command = [str(PROGRAMS / "configurable-http-proxy")]

# People log in with the passwords of the system.
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {MEMBERS}
c.PAMAuthenticator.open_sessions = False  # a hub needs no terminal session; in containers PAM refuses one

# Everybody's server runs as their own system user.
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Spawner.cmd = [str(PROGRAMS / "jupyterhub-singleuser")]
c.Spawner.default_url = "/lab"
c.Spawner.args = [
    # Kernels listen on sockets in their owner's home. On TCP ports, any user of the machine could read the outputs.
    "--KernelManager.transport=ipc",
    # Terminals are no login shells: those set PATH anew, and `lsml` and `nbgrader` would not be found.
    "--ServerApp.terminado_settings=shell_command=/bin/bash",
]


def configuration(spawner) -> str:
    """The instructor's server reads the class's configuration; a student's has neither formgrader nor its menu.

    The instructor's menu has none either: it would open in a frame, which a hub forbids, and rightly, as long as all
    servers have one address. Formgrader is at /user/grace/formgrader/.
    """
    ours = ROOT / "docs" / "hub"
    if spawner.user.name == INSTRUCTOR:
        folder = os.path.join(os.path.expanduser(f"~{INSTRUCTOR}"), CLASS_FOLDER)
        return os.pathsep.join([str(ours / "instructor"), folder])
    return str(ours / "student")


c.Spawner.environment = {
    "PATH": os.pathsep.join([str(PROGRAMS), os.environ.get("PATH", os.defpath)]),
    "JUPYTER_CONFIG_PATH": configuration,
    # nbgrader would go on without a configuration that it cannot read, and run students' code itself.
    "TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR": "1",
}

c.JupyterHub.load_roles = [
    {
        "name": "assistant",
        "scopes": [f"access:servers!user={INSTRUCTOR}", f"servers!user={INSTRUCTOR}"],
        "users": sorted(ASSISTANTS),
    }
]
