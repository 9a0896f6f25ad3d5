"""What is said while members of the class are looked for; what they are worth is in test_traps.py and the sessions."""

from dlcli.conclusion import ladder

WORDS = ("dataset=iris", "model=mlp", "training.epochs=20", "pictures=never")


def test_only_who_waits_long_is_told_what_is_found(dlcli, summary_of, monkeypatch):
    short = dlcli("train", *WORDS).out
    assert "looking for better members" not in short and "found  " not in short
    monkeypatch.setattr(ladder, "LONG", 0.0)
    told = dlcli("train", *WORDS, "seed=1")
    lines = told.out.splitlines()
    start = lines.index("class  looking for better members, at most as long as training took")
    found = [line for line in lines[start + 1 :] if line.startswith("found  train loss ")]
    tried = summary_of(told.run_dir)["decomposition"]["loss"]["approx_train"]["bounds_tried"]
    assert {line.split(" s: ", 1)[1] for line in found} == {each["method"] for each in tried if each["seconds"]}
    assert any("training continued" in line for line in found)
