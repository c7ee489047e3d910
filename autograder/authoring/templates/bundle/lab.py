"""Open JupyterLab on the notebooks: python lab.py (what is written behind it goes to JupyterLab)"""

import os
import subprocess
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
python = here / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
if not python.exists():
    sys.exit("first: python install.py")
command = [python, "-m", "jupyterlab", "--ServerApp.root_dir", here / "notebooks", *sys.argv[1:]]
try:
    sys.exit(subprocess.call(command))
except KeyboardInterrupt:
    sys.exit(130)
