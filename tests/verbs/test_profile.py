"""`dlcli profile`: operations against a closed form, times that add up, and a trace that a browser reads."""

import json


def test_the_work_of_a_step_is_that_of_its_products(dlcli, tmp_path):
    options = ("dataset=digits", "model.width=32", "model.depth=2", "training.batch_size=50", "training.threads=1")
    answer = dlcli("profile", *options, "--steps", "3", "--format", "json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    layers = [(64, 32), (32, 32), (32, 10)]
    forward = sum(2 * 50 * inputs * outputs for inputs, outputs in layers)
    backward = 2 * forward - 2 * 50 * 64 * 32  # the gradients of weights and of inputs, but for the first inputs
    assert found["flops"] == forward + backward
    assert found["parameters"] == sum((inputs + 1) * outputs for inputs, outputs in layers)
    assert 0 < found["flops_per_second"] < found["peak"] and found["step_seconds"] > 0
    calls = {each["name"]: each["calls"] for each in found["operations"]}
    assert calls["aten::addmm"] == 3 and abs(sum(each["share"] for each in found["operations"]) - 1) < 1e-9
    events = json.loads((tmp_path / "outputs" / "trace.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "aten::addmm" for event in events) == 9


def test_the_table_names_the_speed_and_the_trace(dlcli):
    answer = dlcli("profile", "dataset=iris", "model=linear", "--steps", "2", "--trace", "t.json")
    assert answer.code == 0 and "GFLOP/s" in answer.out and "t.json: open it" in answer.out, answer.err
    assert dlcli("profile", "--steps", "0").code == 2
