"""Group A of the catalogue: whatever is wrong with a command line or a configuration ends before anything is made."""

from __future__ import annotations

import pytest

from tests.faults.told import told

LONG = "x" * 5000
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)
WORDS = {
    # A1 to A4: keys and values
    "typo": (["optimizer.lrr=1"], "unknown setting 'optimizer.lrr'", "did you mean 'optimizer.lr'"),
    "plus": (["+typo=1"], "typo"),
    "typo of a group": (["optimiser=adam"], "optimizer"),
    "word for a number": (["optimizer.lr=abc"], "optimizer.lr", "abc"),
    "nothing for a number": (["optimizer.lr="], "optimizer.lr"),
    "half an epoch": (["training.epochs=1.5"], "training.epochs"),
    "true for a number": (["training.epochs=true"], "training.epochs"),
    "zero rate": (["optimizer.lr=0"], "optimizer.lr"),
    "negative rate": (["optimizer.lr=-1"], "optimizer.lr"),
    "dropout": (["model.dropout=1.5"], "model.dropout"),
    "empty batch": (["training.batch_size=0"], "training.batch_size"),
    "negative epochs": (["training.epochs=-1"], "training.epochs"),
    "large seed": (["seed=4294967296"], "seed"),
    "no number": (["optimizer.lr=.nan"], "optimizer.lr"),
    "infinite": (["optimizer.lr=.inf"], "optimizer.lr"),
    "a clock": (["training.epochs=12:30"], "training.epochs"),
    "leading zero": (["training.epochs=012"], "training.epochs"),
    "grouped digits": (["training.epochs=1_000"], "1_000", "write 1000"),
    "grouped digits in a sweep": (["-m", "training.steps=100,1_000"], "1_000", "write 1000"),
    "clipping for a line search": (["optimizer=lbfgs", "training.clip_norm=1"], "training.clip_norm"),
    "batch below a pack": (
        ["dataset=gaussian_ring", "model=gan", "model.pack=8", "training.batch_size=4"],
        "model.pack=8",
    ),
    "list for a number": (["training.epochs=[1,2]"], "training.epochs"),
    "two lengths": (["training.epochs=1", "training.steps=1"], "training."),
    # A9, A10, A11: what would run code or tell secrets
    **{
        f"reserved {key}": ([f"+model.{key}=os.system"], key)
        for key in ("_target_", "_args_", "_partial_", "target", "class_path", "_component_", "_instantiator")
    },
    "hydra callback": (["+hydra.callbacks.x._target_=os.system"], "hydra"),
    "hydra logging": (["hydra.job_logging.x=1"], "hydra"),
    "hydra launcher": (["hydra/launcher=joblib"], "launcher"),
    "hydra search path": (["hydra.searchpath=[file:///tmp]"], "hydra"),
    "hydra run dir": (["hydra.run.dir=/tmp/canary"], "hydra"),
    "environment": (["name=${oc.env:DLCLI_SECRET}"], "name"),
    "resolver": (["name=${oc.decode:x}"], "name"),
    "unknown reference": (["name=${nowhere}"], "nowhere"),
    "circle": (["name=${tags}", "tags=${name}"], ""),
    # A12, A13: names, verbs, flags
    "unknown name": (["model=mpl"], "mpl", "mlp"),
    "case": (["model=MLP"], "mlp"),
    "path as a name": (["model=../../etc/passwd"], "model"),
    "import as a name": (["model.name=os.system"], "model"),
    "reference as a name": (["model.name=a.b:c"], "model"),
    "unknown flag": (["--epochs", "3"], "--epochs"),
    "option without a value": (["--config-dir"], "config-dir"),
    "config dir missing": (["--config-dir", "nowhere"], "nowhere"),
    "no override": (["model"], "model"),
    "brackets": (["model=[mlp"], ""),
    "NUL": (["name=a\x01b"], ""),
    # A14, A15: what does not fit
    "no such device": (["training.device=cuda"], "cuda"),
    "conv of a table": (["model=cnn", "dataset=iris"], "cnn"),
    "batch larger than the data": (["dataset=iris", "training.batch_size=5000"], "0 batches per epoch"),
    "dotted experiment": (["experiment=../x"], "experiment"),
    # A16: names of runs
    "newline in a name": (["name='a\nb'"], "name"),
    "escape in a name": (["name='a\x1b[2Jb'"], "name"),
    "bidi in a name": (["name='a\u202eb'"], "name"),
    "long name": ([f"name={LONG}"], "name"),
    "dots as a name": (["name=.."], "name"),
    "slash in a name": (["name=a/b"], "name"),
    "absolute name": (["name=/tmp/x"], "name"),
    "long key": ([f"{LONG}=1"], ""),
    "plugin missing": (["--plugin", "no_such_plugin"], "no_such_plugin"),
    "from nowhere": (["--from", "nowhere"], "nowhere"),
    "sweep of nothing": (["-m", "seed="], "seed"),
    "sweep with a bad value": (["-m", "optimizer.lr=0.1,0,0.2"], "optimizer.lr"),
    "sweep too large": (["-m", "seed=range(1000000)"], ""),
    "sweep as events": (["-m", "seed=1,2", "--log", "json"], "--log json"),
}
FILES = {
    "broken": ("training: [", "conf"),
    "tab": ("training:\n\tepochs: 1\n", "conf"),
    "Latin-1": (b"name: \xe9\n", "conf"),
    "NUL": (b"name: a\x00b\n", "conf"),
    "empty": (b"", ""),
    "duplicate key": ("defaults: [_self_]\nseed: 1\nseed: 2\n", "seed"),
    "aliases": (BOMB, "conf"),
    "nested": ("a: " + "[" * 10_000, "conf"),
    "tag": ("name: !!python/object/apply:os.system ['touch canary']\n", "tag"),
    "fifty megabytes": (b"# " + b"x" * 50_000_000, "conf"),
    "target": ("model: {_target_: os.system, _args_: [touch canary]}\n", "_target_"),
    "hydra node": (
        "hydra: {callbacks: {x: {_target_: subprocess.run, args: [touch, canary]}}}\n",
        "hydra",
    ),
    "environment": ("name: ${oc.env:DLCLI_SECRET}\n", "config.yaml:1"),
}
SECRET = {"DLCLI_SECRET": "sesame-4711"}


def untouched(room):
    return {path.name for path in room.iterdir()} <= {"out", "err", "conf"}


@pytest.mark.parametrize("case", WORDS)
def test_a_wrong_command_line(warm, case):
    words, *fragments = WORDS[case]
    process = warm.start("train", *words, env=SECRET)
    ended = process.wait(15)
    told(ended, 2, *fragments)
    assert SECRET["DLCLI_SECRET"] not in ended.out + ended.err
    assert untouched(process.room), list(process.room.iterdir())


@pytest.fixture(scope="module")
def usual(warm):
    """Kilobytes that a right file takes."""
    return warm.run("config", "--check").peak


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file(warm, tmp_path, usual, case):
    content, fragment = FILES[case]
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = warm.run("train", cwd=tmp_path, env=SECRET)
    told(ended, 2, fragment)
    assert SECRET["DLCLI_SECRET"] not in ended.out + ended.err
    assert untouched(tmp_path), list(tmp_path.iterdir())
    assert ended.peak - usual < 300_000


def test_a_folder_as_a_file(warm, tmp_path):
    (tmp_path / "config.yaml").mkdir()
    (tmp_path / "file").touch()
    told(warm.run("train", "--from", ".", cwd=tmp_path), 2, "config.yaml")
    told(warm.run("train", "--config-dir", "file", cwd=tmp_path), 2, "file")


@pytest.mark.parametrize(
    "words", [["trian"], ["--flag"], ["resume"], ["resume", "nowhere"], ["verify", "nowhere"], ["report", "nowhere"],
              ["eval", "nowhere"], ["decompose", "nowhere"], ["list", "modles"], ["resume", "a", "b"],
              ["train", "resume"], ["model=mlp"]]
)  # fmt: skip
def test_a_wrong_verb(warm, words):
    process = warm.start(*words)
    told(process.wait(), 2)
    assert untouched(process.room)


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], [], ["train", "--help"], ["list"], ["train", "--cfg", "job"]]
)
def test_a_right_one_says_nothing_on_stderr(warm, words):
    ended = warm.run(*words)
    assert ended.code == 0 and ended.out and not ended.err
