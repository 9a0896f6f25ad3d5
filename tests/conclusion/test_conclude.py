"""What a concluded run warns of."""


def test_a_loss_that_grew_without_an_end_is_told_though_every_number_was_finite(dlcli, summary_of):
    settings = ["dataset=digits", "model=linear", "optimizer=sgd", "training.epochs=5", "decompose.budget=none"]
    diverged, usual = (dlcli("train", *settings, f"optimizer.lr={lr}", "pictures=never") for lr in (10000, 0.1))
    assert "training diverged: the train loss is" in diverged.out
    (found,) = (note for note in summary_of(diverged.run_dir)["warnings"] if note["code"] == "diverged")
    assert "times that of the best constant prediction" in found["text"]
    assert [note for note in summary_of(usual.run_dir)["warnings"] if note["code"] == "diverged"] == []
