"""What the demo cells of a module put out when every exercise is answered."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

import lsml_utils
from autograder.authoring.release import solved_notebook
from autograder.curriculum import Module
from autograder.errors import UserError
from autograder.files import write_atomically

SECONDS_A_CELL = 600
Outputs = dict[str, list[dict]]  # of each demo cell, by its id


def kept(module: Module, folder: Path) -> Outputs | None:
    """What an earlier run kept in `folder`; None where the module, its libraries or its sizes have changed since."""
    try:
        return json.loads(_place(module, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def execute(module: Module, folder: Path) -> Outputs:
    """Run the solved notebook, and keep what its demos put out in `folder`. UserError where a cell fails."""
    notebook = solved_notebook(module)
    where = f"solutions/{module.name}/{module.files.notebook.name}"
    # The notebook's figures are the kernel's to draw; sets of text come in the same order in every run.
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"} | {"PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as empty:
        client = NotebookClient(
            notebook, timeout=SECONDS_A_CELL, kernel_name="python3", resources={"metadata": {"path": empty}}
        )
        try:
            client.execute(env=environment, stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            what = f"{error.ename}: {error.evalue}".strip().partition("\n")[0]
            raise UserError(f"{where}:{_line(module, notebook)}: the solved notebook fails here: {what}") from None
        except (CellControlSignal, DeadKernelError, TimeoutError) as error:
            what = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(f"{where}:{_line(module, notebook)}: the solved notebook stops here: {what}") from None
    found = {
        cell.id: [_tidy(output) for output in cell.outputs if not _is_warning(output)]
        for cell in notebook.cells
        if _is_demo(cell)
    }
    for cell in module.cells:
        for output in found.get(cell.id, ()):
            if _is_figure(output) and not output["metadata"].get("image/png", {}).get("alt"):
                raise UserError(f"{where}:{cell.line}: this figure has no text in its place: call plotting.use() first")
    for older in folder.glob(f"{module.name}-*.json"):
        older.unlink()
    write_atomically(_place(module, folder), json.dumps(found, indent=1, sort_keys=True) + "\n")
    return found


def _is_demo(cell) -> bool:
    return cell.metadata.lsml.role == "demo"


def _is_figure(output: dict) -> bool:
    return "image/png" in output.get("data", {})


def _is_warning(output) -> bool:
    """A warning quotes the line that it is about, which may be of an answer, and the number of the process."""
    return output.get("name") == "stderr"


def _tidy(output) -> dict:
    """An output without its number, and a figure without "<Figure size 640x400 with 1 Axes>"."""
    tidy = json.loads(json.dumps(output)) | ({"execution_count": None} if "execution_count" in output else {})
    if _is_figure(tidy):
        tidy["data"].pop("text/plain", None)
    return tidy


def _line(module: Module, notebook) -> int:
    """Where the cell stands in the authored file that was the last to run."""
    ran = [cell.id for cell in notebook.cells if "iopub.execute_input" in cell.metadata.get("execution", {})]
    return next((cell.line for cell in module.cells if ran and cell.id == ran[-1]), 1)


def _place(module: Module, folder: Path) -> Path:
    return folder / f"{module.name}-{_key(module)}.json"


def _key(module: Module) -> str:
    """A hash of all that makes the outputs: the code, what it imports, the size of the demos, and this file."""
    ours = Path(lsml_utils.__file__).parent
    code = [(cell.id, cell.source) for cell in solved_notebook(module).cells if cell.cell_type == "code"]
    parts = [sys.version, os.environ.get("LSML_DEMO", ""), json.dumps(code)]
    parts += sorted(f"{one.name}=={one.version}" for one in distributions())
    parts += [path.read_text(encoding="utf-8") for path in [*sorted(ours.rglob("*.py")), Path(__file__)]]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
