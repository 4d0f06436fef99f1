"""Numbers of MATLAB files are read as scipy reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from weightsearch.data.untrusted import matlab_files


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_numbers_of_a_matlab_file_are_those_that_scipy_reads(
    kind: str, compressed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "some.mat"
    arrays = {
        "trainNdxs": np.arange(1, 100, dtype=kind)[:, None],
        "testNdxs": np.array([[7]], dtype=kind),
        "a": np.arange(6, dtype=kind).reshape(2, 3),
    }
    others = {"text": "splits", "cell": np.array([1, "b"], dtype=object), "c": np.array([1j])}
    scipy.io.savemat(path, {**others, **arrays, "s": {"x": 1}}, do_compression=compressed)
    found = matlab_files.numbers(path.read_bytes())
    assert found.keys() == arrays.keys()
    for name, array in scipy.io.loadmat(path, variable_names=list(arrays)).items():
        if name in arrays:
            assert found[name].tolist() == array.ravel(order="F").tolist()
