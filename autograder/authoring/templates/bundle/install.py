"""Put what the notebooks need into .venv, a folder beside this file: python install.py"""

import os
import subprocess
import sys
import venv
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 (whoever unpacks this may have any Python)
    sys.exit(f"the course needs Python 3.11 or newer, and this is {sys.version.split()[0]}: {sys.executable}")
here = Path(__file__).resolve().parent
home = here / ".venv"
python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
if not python.exists():
    print("making .venv")
    venv.create(home, with_pip=True)
print("downloading and installing, which takes some minutes")
done = subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "-r", here / "requirements.txt"])
if done.returncode:
    sys.exit("that did not work; pip's last lines above say why. Run this again to go on.")
print("done; now: python lab.py")
