from __future__ import annotations

import json
import math
import multiprocessing
import sqlite3

import numpy as np
import pytest

from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import decompose
from dlcli.decomposition.ledger import FILE, Ledger, Member, entries
from dlcli.decomposition.record import to_json
from dlcli.errors import StorageError
from dlcli.protocols import Bound

PLACE = ("mlp-1", "data-1", "cross_entropy (nats)")


def found(risk, place=PLACE, **more):
    return Member(*place, risk, "final weights", **more)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "outputs")


def summary(risk, members=(), function_class="mlp-1", **more):
    """A summary as a run leaves it, its decomposition written by the real writer."""
    bounds = [Bound("upper", value, "certified", method, witness="w") for method, value in members]
    bounds.append(Bound("lower", 0.0, "certified", "nonnegativity"))
    bounds.append(Bound("upper", -1.0, "heuristic", "extrapolated"))
    rows = np.full(10, risk)
    parts = decompose(rows, rows + 0.1, bounds, loss="loss", unit="nats", circumstances=Circumstances())
    errors = decompose(rows > 1e9, rows > 0, bounds[:0], loss="error", unit="fraction", circumstances=Circumstances())
    return {
        "keys": {"class": function_class, "data": "data-1", "loss": "cross_entropy (nats)"},
        "run": {"weights": {"sha256": "own"}},
        "class": {"id": function_class, **more},
        "decomposition": {"loss": to_json(parts), "error": to_json(errors)},
    }


def leave(root, name, content):
    (root / name).mkdir(parents=True)
    (root / name / "summary.json").write_text(json.dumps(content))


def test_an_empty_ledger_knows_nothing_and_makes_no_file(ledger):
    assert ledger.best(*PLACE) is None and ledger.bound(*PLACE) is None
    assert ledger.standings() == [] and ledger.version == ""
    assert not ledger.path.exists()


def test_the_least_risk_of_the_same_keys_is_the_best(ledger):
    ledger.record([found(0.5, run="a"), found(0.3, run="b", witness="3fa9", attained=True)])
    ledger.record([found(0.4, run="c")])
    assert ledger.best(*PLACE) == found(0.3, run="b", witness="3fa9", attained=True)


@pytest.mark.parametrize(
    "place", [("mlp-2", *PLACE[1:]), (PLACE[0], "noisy", PLACE[2]), (*PLACE[:2], "error (fraction)")]
)
def test_another_class_data_set_or_loss_is_another_place(ledger, place):
    """Two draws of label noise have two data keys; the minimizer of one loss says nothing of another."""
    ledger.record([found(0.3)])
    assert ledger.best(*place) is None


def test_a_member_of_a_narrower_class_counts_for_every_class_that_contains_it(ledger):
    narrow, middle, wide = (("mlp-w4", *PLACE[1:]), ("mlp-w8", *PLACE[1:]), ("mlp-w16", *PLACE[1:]))
    ledger.record([found(0.3, narrow, witness="n"), found(0.5, wide)], [("mlp-w4", "mlp-w8"), ("mlp-w8", "mlp-w16")])
    assert ledger.best(*wide).risk == ledger.best(*middle).risk == 0.3
    bound = ledger.bound(*wide)
    assert bound.method == "ledger: final weights, of the narrower class mlp-w4" and bound.witness == "n"


def test_a_wider_class_says_nothing_about_a_narrower_one(ledger):
    ledger.record([found(0.1, ("mlp-w8", *PLACE[1:])), found(0.3, ("mlp-w4", *PLACE[1:]))], [("mlp-w4", "mlp-w8")])
    assert ledger.best("mlp-w4", *PLACE[1:]).risk == 0.3


def test_classes_that_contain_each_other_end_the_search(ledger):
    ledger.record([found(0.3)], [("mlp-1", "same"), ("same", "mlp-1")])
    assert ledger.best("same", *PLACE[1:]).risk == 0.3


def test_an_old_version_can_be_asked_again(ledger):
    early = ledger.record([found(0.5)])
    late = ledger.record([found(0.2)], [("mlp-0", "mlp-1")])
    assert ledger.best(*PLACE, version=early).risk == 0.5
    assert ledger.best(*PLACE, version=late).risk == ledger.best(*PLACE).risk == 0.2
    assert ledger.bound(*PLACE).evidence["ledger_version"] == late == ledger.version


def test_what_is_known_makes_no_new_version(ledger):
    first = ledger.record([found(0.5)])
    assert ledger.record([found(0.5)]) == first


@pytest.mark.parametrize("risk", [math.nan, math.inf, -math.inf])
def test_a_diverged_run_is_no_member(ledger, risk):
    ledger.record([found(risk)])
    assert ledger.best(*PLACE) is None


def test_a_negative_risk_is_one(ledger):
    ledger.record([found(-6.67)])
    assert ledger.bound(*PLACE).value == -6.67


def test_a_bound_from_the_ledger_enters_a_decomposition(ledger):
    ledger.record([found(0.2, run="better", attained=False)])
    rows = np.full(20, 0.5)
    bounds = [Bound("lower", 0.0, "certified", "nonnegativity"), ledger.bound(*PLACE)]
    parts = decompose(rows, rows, bounds, loss="loss", unit="nats", circumstances=Circumstances())
    assert parts.approximation == (0.0, 0.2) and parts.infimum_not_attained


def test_a_summary_gives_its_members_in_every_loss():
    members, embeddings = entries(
        summary(0.5, [("refit", 0.4), ("ledger: refit", 0.1)], superclasses=["wide"]), "day/run"
    )
    assert [(each.loss, each.risk, each.method) for each in members] == [
        ("cross_entropy (nats)", 0.5, "final weights"),
        ("cross_entropy (nats)", 0.4, "refit"),
        ("error (fraction)", 0.0, "final weights"),
    ]
    assert members[0].witness == "own" and members[1].run == "day/run"
    assert embeddings == [("mlp-1", "wide")]


def test_it_is_rebuilt_from_the_run_directories(ledger):
    root = ledger.path.parent
    leave(root, "day/one", summary(0.5, [("refit", 0.4)]))
    leave(root, "day/sweep/two", summary(0.25, superclasses=["wide"]))
    leave(root, "day/foreign", {"schema": "something else"})
    before = ledger.record([found(0.01, run="deleted")])
    assert ledger.rebuild() == (2, [root / "day/foreign/summary.json"])
    assert ledger.best(*PLACE).run == "day/sweep/two"
    assert ledger.best("wide", *PLACE[1:]).risk == 0.25
    with pytest.raises(ValueError, match="another generation"):
        ledger.best(*PLACE, version=before)


def test_a_damaged_ledger_is_said_and_can_be_rebuilt(ledger):
    leave(ledger.path.parent, "day/one", summary(0.5))
    ledger.path.write_bytes(b"no database, and long enough to be taken for a damaged one" * 50)
    with pytest.raises(StorageError, match="is damaged") as caught:
        ledger.record([found(0.1)])
    assert "dlcli ledger --rebuild" in caught.value.hint and len(caught.value.hint) <= 200
    assert ledger.rebuild() == (1, []) and ledger.best(*PLACE).risk == 0.5


def test_a_ledger_of_another_format_is_refused(ledger):
    ledger.record([found(0.5)])
    connection = sqlite3.connect(ledger.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="its format is 99"):
        ledger.record([found(0.4)])
    ledger.rebuild()
    assert ledger.best(*PLACE) is None


def test_a_failed_write_leaves_nothing_behind(ledger):
    version = ledger.record([found(0.5)])
    with pytest.raises(RuntimeError), ledger.writing() as connection:
        connection.execute("DELETE FROM members")
        raise RuntimeError
    assert ledger.best(*PLACE).risk == 0.5 and ledger.version == version


def test_standings_show_the_best_of_each_place(ledger):
    ledger.record([found(0.5), found(0.3, run="b"), found(0.1, ("mlp-2", *PLACE[1:]))])
    first, second = ledger.standings()
    assert (first.best, first.evaluated) == (found(0.3, run="b"), 2)
    assert (second.best.function_class, second.evaluated) == ("mlp-2", 1)


def write_many(root, worker):
    ledger = Ledger(root)
    for i in range(25):
        ledger.record([found(1.0 + worker + i / 100, run=f"{worker}-{i}")], [(f"narrow-{worker}", "mlp-1")])
        assert ledger.best(*PLACE) is not None


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(tmp_path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    ledger = Ledger(tmp_path)
    assert ledger.standings()[0].evaluated == 100
    assert ledger.best(*PLACE).risk == 1.0
    assert ledger.version.endswith(".100")
    assert (tmp_path / FILE).is_file()
