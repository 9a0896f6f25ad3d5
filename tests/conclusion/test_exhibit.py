"""TensorBoard has the pictures of the page: of a run at its last step, of a sweep in the folder of the sweep."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlcli.report.pictures import worth_drawing

SHORT = ("dataset=iris", "model.width=4", "training.epochs=2", "decompose.budget=quick")
OF_A_RUN = {"report/terms/loss", "report/terms/error", "report/way/upper_bounds", "report/way/risks"}


def images(folder):
    shown = EventAccumulator(str(folder / "tensorboard"))
    shown.Reload()
    return set(shown.Tags()["images"])


def test_a_training_shorter_than_its_pictures_has_them_where_they_are_asked_for(dlcli):
    assert worth_drawing("always", 0.1) and worth_drawing("auto", 60) and not worth_drawing("never", 60)
    answer = dlcli("train", *SHORT)
    page = answer.run_dir / "report.html"
    assert "dlcli report --format html draws its pictures" in answer.out
    assert "<table>" in page.read_text() and "<figure>" not in page.read_text() and images(answer.run_dir) == set()
    assert dlcli("report", "--format", "html", str(answer.run_dir)).code == 0 and "<figure>" in page.read_text()


def test_the_pictures_of_a_run_and_of_a_sweep_are_in_tensorboard(dlcli):
    answer = dlcli("train", "-m", *SHORT, "optimizer=adam,sgd", "pictures=always")
    assert answer.code == 0, answer.err
    of_the_sweep = images(answer.run_dir)
    assert of_the_sweep >= OF_A_RUN and "report/differences/test loss" in of_the_sweep
    single = answer.run_dir / "optimizer=adam"
    assert images(single) >= OF_A_RUN | {"test/confusion"}
    assert images(dlcli("train", "-m", *SHORT, "seed=0,1").run_dir / "seed=0") == set()
    page = (answer.run_dir / "report.html").read_text()
    assert page.count("<figure>") == len(of_the_sweep)
