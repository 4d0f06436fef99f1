"""The notebook of docs/examples runs as it stands there, and to the outputs that it shows.

Its outputs are written anew by `PYTHONPATH=.:tests python tests/api/test_notebook.py`.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

NOTEBOOK = ROOT / "docs" / "examples" / "notebook.ipynb"


def executed(folder: Path) -> Any:
    """Run by a kernel of its own in this folder, with this process's environment."""
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    at = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=240, resources=at, record_timing=False)
    return client.execute()


def _outputs(cell: Any) -> list[Any]:
    """Without warnings, of tqdm that there are no widgets for one."""
    return [one for one in cell.get("outputs", []) if one.get("name") != "stderr"]


def shown(notebook: Any) -> list[str]:
    """What its cells print and return, without how long anything took."""
    texts = []
    for cell in notebook.cells:
        for output in _outputs(cell):
            text = output["text"] if "text" in output else output["data"]["text/plain"]
            texts.append(re.sub(r"[\d.]+ (?:s|min|h) of device time", "T of device time", text))
    return texts


@pytest.mark.filterwarnings("ignore")  # of the kernel's client
def test_it_comes_to_what_it_shows(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat

    monkeypatch.setenv("WEIGHTSEARCH_STORAGE", storage)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    committed = nbformat.read(NOTEBOOK, as_version=4)
    found = shown(executed(tmp_path))
    assert found == shown(committed)
    assert len(found) == sum(cell.cell_type == "code" for cell in committed.cells)
    assert NOTEBOOK.stat().st_size < 20_000


if __name__ == "__main__":
    import nbformat

    with tempfile.TemporaryDirectory() as made:
        os.environ |= {"WEIGHTSEARCH_HOME": f"{made}/home", "PYTHONPATH": str(ROOT)}
        written = executed(Path(made))
    for one in written.cells:
        if one.cell_type == "code":
            one.outputs = _outputs(one)
        for output in one.get("outputs", []):
            output.get("data", {}).pop("text/html", None)  # text is enough, and small
    written.metadata.pop("language_info")
    nbformat.write(written, NOTEBOOK)
