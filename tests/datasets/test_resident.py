"""Mean and deviation of inputs, against those of numpy and scikit-learn."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from dlcli.datasets import resident
from dlcli.datasets.on_disk import OnDisk
from dlcli.datasets.resident import PIXEL, fit

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
PIXELS[:, 1] = 77


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch):
    monkeypatch.setattr(resident, "CHUNK", 7 * 3 * 64)


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS.astype(np.float64) / PIXEL], ids=["levels", "numbers"])
def test_each_channel_is_measured_as_by_scikit_learn(pixels):
    found = fit(pixels, "feature")
    reference = StandardScaler().fit((PIXELS / PIXEL).swapaxes(0, 1).reshape(3, -1).T)
    assert found.mean == pytest.approx(reference.mean_, rel=1e-13)
    assert found.scale[[0, 2]] == pytest.approx(reference.scale_[[0, 2]], rel=1e-13)
    assert found.scale[1] == 1.0  # all alike


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS.astype(np.float64) / PIXEL], ids=["levels", "numbers"])
def test_all_together_are_measured_as_by_numpy(pixels):
    found = fit(pixels, "all")
    assert found.mean == pytest.approx([(PIXELS / PIXEL).mean()], rel=1e-13)
    assert found.scale == pytest.approx([(PIXELS / PIXEL).std()], rel=1e-13)


def test_pixels_on_disk_are_read_once():
    places = []

    def read(some):
        places.extend(some)
        return PIXELS[some]

    on_disk = OnDisk(read, np.arange(50), PIXELS.shape[1:], PIXELS.dtype)
    assert np.array_equal(fit(on_disk, "feature"), fit(PIXELS, "feature"))
    assert places == list(range(50))
