"""`dlcli predict` on files of every kind, held against the risks that the run has measured itself."""

import csv
import io

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

TINY = ("model.width=8", "model.depth=1", "training.epochs=2", "decompose.budget=none")


def table(text):
    rows = list(csv.DictReader(io.StringIO(text)))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def write(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def weighted(summary, metric):
    """The sum over all examples of the three splits, as the run measured it."""
    return sum(risk[metric]["value"] * risk[metric]["n"] for risk in summary["risks"].values())


@pytest.fixture
def animals():
    source = np.random.default_rng(0)
    weight, coat = source.gamma(2, 2, 120), source.choice(["fur", "scales", "feathers"], 120)
    kind = np.where(coat == "fur", np.where(weight > 3, "dog", "cat"), np.where(coat == "scales", "fish", "bird"))
    return {"weight": weight, "coat": coat, "kind": kind}


def test_a_table_is_read_by_the_columns_and_categories_of_training(dlcli, tmp_path, animals, summary_of):
    write(tmp_path / "animals.csv", animals)
    trained = dlcli("train", "dataset=csv", "dataset.path=animals.csv", "dataset.target=kind", *TINY)
    assert trained.code == 0, trained.err
    run_dir = str(trained.run_dir)
    write(tmp_path / "new.csv", {"note": ["x"] * 120, "coat": animals["coat"], "weight": animals["weight"]})
    answer = dlcli("predict", run_dir, "new.csv")
    assert answer.code == 0, answer.err
    found = table(answer.out)
    assert list(found) == ["line", "prediction", "probability", "p_bird", "p_cat", "p_dog", "p_fish"]
    assert found["line"].tolist() == [str(line) for line in range(2, 122)]
    summary = summary_of(trained.run_dir)
    assert int((found["prediction"] != animals["kind"]).sum()) == round(weighted(summary, "error"))
    truth = np.array([found[f"p_{kind}"][i] for i, kind in enumerate(animals["kind"])], float)
    assert -np.log(truth).sum() == pytest.approx(weighted(summary, "loss"), rel=1e-5)
    shares = np.stack([found[name].astype(float) for name in list(found)[3:]])
    assert np.allclose(shares.sum(0), 1, atol=1e-6) and np.array_equal(
        shares.max(0), found["probability"].astype(float)
    )
    parquet.write_table(pyarrow.table({"weight": animals["weight"], "coat": animals["coat"]}), tmp_path / "new.parquet")
    assert dlcli("predict", run_dir, "new.parquet", "--output", "out.parquet").out.startswith("wrote  out.parquet")
    again = parquet.read_table(tmp_path / "out.parquet")
    assert again["prediction"].to_pylist() == found["prediction"].tolist()
    one_row = {"weight": [1e6], "coat": ["wool"]}
    write(tmp_path / "odd.csv", one_row)
    answer = dlcli("predict", run_dir, "odd.csv", "-o", "odd.out.csv")
    assert answer.code == 0 and "1 row of odd.csv have a category of 'coat' that training never saw" in answer.err
    mistakes = {
        "short.csv": ({"weight": [1, 2], "fur": ["a", "b"]}, "'short.csv' has no column 'coat'"),
        "words.csv": (
            {"weight": ["much"], "coat": ["fur"]},
            "'words.csv', line 2, column 'weight': 'much' is no number",
        ),
        "gaps.csv": ({"weight": [""], "coat": ["fur"]}, "'gaps.csv', line 2, column 'weight': missing"),
    }
    for name, (columns, message) in mistakes.items():
        write(tmp_path / name, columns)
        answer = dlcli("predict", run_dir, name)
        assert answer.code == 3 and answer.err.startswith(f"error: {message}"), answer.err
        assert len(answer.err.splitlines()) == 2 and answer.out == ""
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4)))
    assert "'a.npz' is no input for a model of data set csv" in dlcli("predict", run_dir, "a.npz").err
    assert "its suffix is none of .csv, .parquet" in dlcli("predict", run_dir, "new.csv", "-o", "out.xlsx").err


def test_a_regression_answers_in_the_units_of_the_target(dlcli, tmp_path, summary_of):
    x = np.random.default_rng(0).normal(5, 2, 80)
    y = 1e4 + 300 * x
    write(tmp_path / "line.csv", {"x": x, "y": y})
    options = ("dataset=csv", "dataset.path=line.csv", "dataset.target=y", "training.epochs=30", *TINY[:2], TINY[3])
    trained = dlcli("train", *options)
    assert trained.code == 0, trained.err
    write(tmp_path / "x.csv", {"x": x})  # one column only
    found = table(dlcli("predict", str(trained.run_dir), "x.csv").out)
    summary = summary_of(trained.run_dir)
    unit = summary["data"]["standardize_targets"]["scale"] ** 2
    errors = (found["prediction"].astype(float) - y) ** 2
    assert errors.sum() == pytest.approx(weighted(summary, "loss") * unit, rel=1e-4)


def test_pictures_and_arrays_are_scaled_alike(dlcli, tmp_path):
    source = np.random.default_rng(0)
    pictures = source.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    pictures[:20] //= 2
    for i, pixels in enumerate(pictures):
        folder = tmp_path / "pictures" / ("dark" if i < 20 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    trained = dlcli("train", "dataset=image_folder", "dataset.path=pictures", "training.batch_size=8", *TINY)
    assert trained.code == 0, trained.err
    run_dir = str(trained.run_dir)
    by_file = table(dlcli("predict", run_dir, "pictures").out)
    assert by_file["file"][[0, -1]].tolist() == ["dark/00.png", "light/39.png"]
    np.savez(tmp_path / "bytes.npz", x=pictures)
    np.savez(tmp_path / "floats.npz", pictures[:, None] / 255)
    names = ("prediction", "p_dark", "p_light")
    for name in ("bytes.npz", "floats.npz"):
        by_row = table(dlcli("predict", run_dir, name).out)
        assert by_row["prediction"].tolist() == by_file["prediction"].tolist()
        for column in names[1:]:
            assert np.allclose(by_row[column].astype(float), by_file[column].astype(float), atol=2e-6)
    (row,) = zip(*table(dlcli("predict", run_dir, "pictures/light/39.png").out).values(), strict=True)
    assert row[2:] == tuple(by_file[name][-1] for name in ("probability", "p_dark", "p_light"))
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 9, 9), np.uint8))
    np.savez(tmp_path / "raw.npz", x=pictures.astype(float))
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    for name, message in {
        "wide.npz": "inputs of shape (9, 9), training had (1, 8, 8)",
        "raw.npz": "where pixels are needed",
        "wide.png": "has 9 x 8 pixels, training had 8 x 8",
        "nothing.npz": "cannot read 'nothing.npz': No such file or directory",
        "nothing.csv": "is no input for a model of data set image_folder",
    }.items():
        answer = dlcli("predict", run_dir, name)
        assert answer.code == 3 and message in answer.err and len(answer.err.splitlines()) == 2, answer.err


def test_a_text_is_scored_token_by_token_as_the_risk_is(dlcli, tmp_path, summary_of):
    source = np.random.default_rng(0)
    content = "".join(source.choice(list("abcd "), 1000, p=[0.4, 0.3, 0.1, 0.1, 0.1]))
    (tmp_path / "all.txt").write_text(content)
    model = ("model=gru", "model.width=8", "dataset.window=16", "dataset.test_fraction=0.2", *TINY[1:])
    trained = dlcli("train", "dataset=text", "dataset.path=all.txt", *model)
    assert trained.code == 0, trained.err
    risk = summary_of(trained.run_dir)["risks"]["test"]["loss"]
    test = content[-200:]
    whole = test[: (len(test) - 1) // 16 * 16 + 1]
    (tmp_path / "test.txt").write_text(test)
    found = table(dlcli("predict", str(trained.run_dir), "test.txt").out)
    assert "".join(found["token"]) == test[1:] and set(found["prediction"]) <= set("abcd ")
    losses = -np.log(found["p_token"].astype(float))
    assert losses[: len(whole) - 1].mean() == pytest.approx(risk["value"], rel=1e-5)
    (tmp_path / "foreign.txt").write_text("abcx")
    answer = dlcli("predict", str(trained.run_dir), "foreign.txt")
    assert answer.code == 3 and "the text has 'x', which the vocabulary lacks" in answer.err


def test_a_generative_model_predicts_nothing(dlcli):
    trained = dlcli(
        "train", "model=vae", "dataset=digits", "training.steps=3", "decompose.budget=none", "model.width=8"
    )
    assert trained.code == 0, trained.err
    answer = dlcli("predict", str(trained.run_dir), "new.npz")
    assert answer.code == 2 and "is a vae, which predicts no targets" in answer.err and "dlcli sample" in answer.err
