"""Executes routing.ipynb with the weir that PYTHONPATH names.

  execute.py RESULT.ipynb    writes the executed notebook there
  execute.py --update        writes it back, and its picture for docs/notebook.md
"""

import base64
import os
import pathlib
import sys
import tempfile

import nbclient
import nbformat
from traitlets.config import Config

HERE = pathlib.Path(__file__).resolve().parent
NOTEBOOK = HERE / "routing.ipynb"
PICTURE = HERE.parents[1] / "docs/notebook.png"
PICTURE_TAG = "docs"  # of the cell whose picture the page shows
CELL_TIMEOUT_S = 120


def executed(notebook=NOTEBOOK):
    """The notebook with fresh outputs; raises nbclient's CellExecutionError."""
    document = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # Settings of whoever runs it do not count, nothing is left in their home, and no port is opened.
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
            os.environ[name] = os.path.join(folder, name.lower())
        sockets = Config({"KernelManager": {"transport": "ipc", "ip": os.path.join(folder, "kernel")}})
        nbclient.NotebookClient(document, timeout=CELL_TIMEOUT_S, kernel_name="python3", record_timing=False,
                                resources={"metadata": {"path": str(HERE)}}, config=sockets).execute()
    document.metadata = {key: document.metadata[key] for key in ("kernelspec", "language_info")}
    document.metadata["language_info"] = {"name": "python"}  # without the version of whoever ran it
    return document


def picture(document):
    """The PNG of the tagged cell."""
    for cell in document.cells:
        if PICTURE_TAG in cell.metadata.get("tags", ()):
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output.data["image/png"])
    raise ValueError(f"{NOTEBOOK.name}: no picture in a cell with the tag {PICTURE_TAG}")


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    document = executed()
    if arguments[0] == "--update":
        PICTURE.write_bytes(picture(document))
    nbformat.write(document, NOTEBOOK if arguments[0] == "--update" else arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
