"""Makes a machine as docs/hub.md asks for it, inside a mount and a process namespace, and becomes the hub there.

    unshare --mount --pid ... python hub_world.py WORLD CHECKOUT COMMAND...

System users, /etc, /home and /srv are this world's own: nothing of it is on the machine, during or after. The checkout
is a copy, WORLD/checkout, shown at its own path. Only root can start it.
"""

import os
import subprocess
import sys
from pathlib import Path

OWN = ("etc", "home", "srv")
MEMBERS, INSTRUCTOR, ASSISTANT, STUDENTS = "ml2027", "gina", "tim", ("ada", "ben")  # not the names on the page
FIRST_ID = 47001  # which no user of the machine has


def main(world: Path, checkout: Path, *command: str) -> None:
    os.umask(0o022)
    for name in OWN:
        (world / name).mkdir(exist_ok=True)
    run("cp", "-a", "/etc/.", world / "etc")
    shown = {checkout: hold(world, world / "checkout")}
    shown |= {path: hold(world, path) for path in map(Path, (sys.base_prefix, sys.prefix))}
    for name in OWN:
        run("mount", "--bind", world / name, f"/{name}")
    for path, held in sorted(shown.items()):
        show(path, held)
    prepare(checkout)
    os.chdir(checkout)
    os.execvp(command[0], command)


def hold(world: Path, path: Path) -> Path:
    """The folder at a second place, where no later mount hides it."""
    held = world / "held" / str(len(list((world / "held").glob("*"))))
    held.mkdir(parents=True)
    run("mount", "--bind", path, held)
    return held


def show(path: Path, held: Path) -> None:
    """Let every user reach a folder at its own path: what is closed above it (root's home, say) is covered."""
    for above in reversed(path.parents):
        if above.exists() and not above.stat().st_mode & 0o001:
            run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", above)
            break
    path.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", held, path)


def prepare(checkout: Path) -> None:
    """What an administrator does before the hub is started."""
    everybody = (INSTRUCTOR, ASSISTANT, *STUDENTS)
    for number, user in enumerate(everybody, FIRST_ID):
        home = ("--create-home", "--key", "HOME_MODE=0700", "--shell", "/bin/bash")
        run("useradd", *home, "--uid", number, user)
    run("chpasswd", text="".join(f"{user}:{password(user)}\n" for user in everybody))
    run(checkout / "docs" / "hub" / "prepare.sh", MEMBERS, INSTRUCTOR)
    for user in (ASSISTANT, *STUDENTS):
        run("usermod", "--append", "--groups", MEMBERS, user)
    configuration = Path("/etc/jupyterhub/jupyterhub_config.py")
    text = configuration.read_text()
    configuration.write_text(text.replace("ASSISTANTS = set()", f"ASSISTANTS = {{{ASSISTANT!r}}}"))


def password(user: str) -> str:
    """What somebody logs in with."""
    return f"password of {user}"


def run(*command: object, text: str | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, input=text, text=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
