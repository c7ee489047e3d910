"""Prepares a machine for docs/hub.md inside a mount and a process namespace, and becomes the hub there.

    unshare --mount --pid ... python hub_world.py WORLD CHECKOUT USER:GROUP,... COMMAND...

System users, /etc, /home and /srv are this world's own, so nothing of it is on the machine, before or after. What the
documentation asks of an administrator is done as it says, with the same paths. Only root can start it.
"""

import os
import subprocess
import sys
from pathlib import Path

OWN = ("etc", "home", "srv")


def main(world: Path, checkout: Path, *command: str) -> None:
    for name in OWN:
        (world / name).mkdir(mode=0o755, exist_ok=True)
    run("cp", "-a", "/etc/.", world / "etc")
    needed = {path: hold(world, path) for path in map(Path, (sys.base_prefix, sys.prefix))}
    needed = {checkout: hold(world, world / "checkout"), **needed}
    for name in OWN:
        run("mount", "--bind", world / name, f"/{name}")
    for path, held in sorted(needed.items()):
        show(path, held)
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


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
