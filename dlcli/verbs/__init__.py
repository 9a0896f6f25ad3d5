"""What a user can type after `dlcli`: one file a verb, each with its arguments and a function `run`."""

from __future__ import annotations

import importlib
from types import ModuleType

SECTIONS = {  # as the help shows them
    "training": {
        "train": "train a model and read why its test error is what it is; -m for a sweep",
        "resume": "go on with a run or a sweep that was stopped, to the bit",
        "eval": "evaluate a checkpoint of a run on all splits",
        "decompose": "decompose the test risk of a run again, with another budget",
    },
    "trained models": {
        "predict": "predict new examples from a file: csv, parquet, npz, images, text",
        "export": "write the model as a file that other programs run (torch, onnx)",
        "sample": "draw examples from a generative model, or text from a language model",
    },
    "runs": {
        "report": "print the report of a run, or compare several",
        "runs": "a table of all runs with status, risks and age, to sort and filter",
        "diff": "what differs between two runs, in settings and in results",
        "ledger": "the best of each function class that any run has found",
        "verify": "check every checkpoint of a run against its manifest",
    },
    "before training": {
        "list": "what can be chosen: models, datasets, optimizers, ...",
        "config": "show the composed configuration; --check tries it out",
        "data": "look at a data set, or download and verify it before training",
        "lr-find": "which learning rates a model can be trained with, in one short test",
        "profile": "where the time of a training step goes, and how much of the machine it uses",
        "init": "make a small project: a model of your own, an experiment, a README",
    },
    "dlcli": {
        "completion": "print the script that completes dlcli in bash, zsh or fish",
        "selftest": "check the estimator and the program against known truth, in a few minutes",
        "doctor": "show versions, device, threads, folders, and what looks wrong",
    },
}
VERBS = {verb: meaning for section in SECTIONS.values() for verb, meaning in section.items()}
MODULES = {"eval": "evaluate", "list": "listing", "lr-find": "lr_find"}  # where the verb is no good name for a file


def module(verb: str) -> ModuleType:
    return importlib.import_module(f"dlcli.verbs.{MODULES.get(verb, verb)}")
