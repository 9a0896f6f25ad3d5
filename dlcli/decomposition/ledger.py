"""The best member of every function class that was ever evaluated, kept beside the runs in one SQLite file.

min_F L_tr belongs to a class, a training set and a loss, not to a run: whatever one run found bounds it for all runs
with the same three keys, and for every class that contains theirs. The ledger only remembers what the run directories
hold, so it can be thrown away and rebuilt from them.

Entries are only added. Each change has the next version, so what a report saw under its version can be asked again.
Every operation is one transaction on its own connection: processes may write at once, and a fork inherits nothing.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from dlcli.errors import StorageError
from dlcli.protocols import Bound

FILE = "ledger.sqlite3"
FORMAT = 1
PATIENCE = 60.0  # seconds that a writer waits for the others
ITSELF = "final weights"
LEDGER = "ledger: "  # how the method of a bound from here begins; such bounds are not entered again
TABLES = """
CREATE TABLE IF NOT EXISTS state (generation TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS members (
    class TEXT NOT NULL, data TEXT NOT NULL, loss TEXT NOT NULL, risk REAL NOT NULL, method TEXT NOT NULL,
    witness TEXT NOT NULL, run TEXT NOT NULL, attained INTEGER, version INTEGER NOT NULL,
    UNIQUE (class, data, loss, risk, method, witness, run)
);
CREATE INDEX IF NOT EXISTS least ON members (class, data, loss, risk);
CREATE TABLE IF NOT EXISTS embeddings (
    class TEXT NOT NULL, superclass TEXT NOT NULL, version INTEGER NOT NULL, UNIQUE (class, superclass)
);
"""
WITHIN = """
WITH RECURSIVE within (class) AS (
    SELECT :function_class
    UNION
    SELECT embeddings.class FROM embeddings JOIN within ON embeddings.superclass = within.class
    WHERE embeddings.version <= :version
)
"""
COLUMNS = "class, data, loss, risk, method, witness, run, attained"


class Member(NamedTuple):
    """One function of a class, by what it reached; a bound of the infimum that no member attains is kept alike."""

    function_class: str
    data: str
    loss: str
    risk: float
    method: str
    witness: str = ""  # hash of the weights
    run: str = ""  # directory of the run that holds them, relative to the ledger's
    attained: bool | None = None


class Standing(NamedTuple):
    """One line of the ledger: a class on a training set in a loss, and the best of it."""

    best: Member
    evaluated: int


class Ledger:
    """The ledger of one output root. A file that is not there is empty; writing makes it."""

    def __init__(self, output_root: Path):
        self.path = output_root / FILE

    def record(self, members: Iterable[Member], embeddings: Iterable[tuple[str, str]] = ()) -> str:
        """Enter members, and pairs (class, class that contains it). Returns the version that has them.

        What is known already, and risks that are not finite, change nothing.
        """
        with self.writing() as connection:
            return enter(connection, members, embeddings)

    def best(self, function_class: str, data: str, loss: str, version: str = "") -> Member | None:
        """The least risk in a class and the classes within it. version: as of then, "" for now; ValueError for one of
        an earlier generation, which a rebuilt ledger no longer knows.
        """
        with self.reading() as connection:
            if connection is None:
                return None
            keys = {
                "function_class": function_class,
                "data": data,
                "loss": loss,
                "version": number(connection, version),
            }
            row = connection.execute(
                f"{WITHIN} SELECT {COLUMNS} FROM members WHERE class IN within AND data = :data AND loss = :loss "
                "AND version <= :version ORDER BY risk, rowid LIMIT 1",
                {**keys, "version": number(connection, version)},
            ).fetchone()
        return None if row is None else member(row)

    def witnesses(self, function_class: str, data: str, loss: str) -> list[Member]:
        """The members of exactly this class whose weights were left, the best first; each weights once."""
        query = (
            f"SELECT {COLUMNS}, min(risk) FROM members WHERE class = ? AND data = ? AND loss = ? AND witness != '' "
            "GROUP BY witness ORDER BY risk, rowid"
        )
        with self.reading() as connection:
            rows = [] if connection is None else connection.execute(query, (function_class, data, loss)).fetchall()
        return [member(row[:8]) for row in rows]

    def bound(self, function_class: str, data: str, loss: str) -> Bound | None:
        """The same as an upper bound of min_F L_tr, with the ledger's version in its evidence."""
        version = self.version
        found = self.best(function_class, data, loss, version)
        if found is None:
            return None
        narrower = "" if found.function_class == function_class else f", of the narrower class {found.function_class}"
        evidence = {"ledger_version": version, "run": found.run, "class": found.function_class}
        method = f"{LEDGER}{found.method}{narrower}"
        return Bound("upper", found.risk, "certified", method, found.attained, None, found.witness, evidence=evidence)

    def standings(self) -> list[Standing]:
        """Every class, training set and loss with its best member, the most evaluated first."""
        with self.reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                f"SELECT {COLUMNS}, count(*), min(risk) FROM members GROUP BY class, data, loss "
                "ORDER BY count(*) DESC, class, data, loss"
            ).fetchall()  # SQLite takes the other columns from the row of the minimum
        return [Standing(member(row[:8]), row[8]) for row in rows]

    @property
    def version(self) -> str:
        """GENERATION.NUMBER; the generation changes when the ledger is rebuilt. "" for an empty ledger."""
        with self.reading() as connection:
            return "" if connection is None else state(connection)

    def rebuild(self) -> tuple[int, list[Path]]:
        """Forget everything and read the run directories below the output root again.

        -> how many summaries were read, and the files that could not be. Members of runs that were deleted are gone.
        """
        if self.damaged():
            self.path.replace(self.path.with_suffix(".damaged"))
        with self.writing() as connection:
            summaries, unreadable = read_summaries(self.path.parent)
            connection.execute("DELETE FROM members")
            connection.execute("DELETE FROM embeddings")
            connection.execute("UPDATE state SET generation = ?, version = 0", (uuid4().hex[:8],))
            for run, summary in summaries:
                enter(connection, *entries(summary, run))
        return len(summaries), unreadable

    def damaged(self) -> bool:
        if not self.path.exists():
            return False
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection:
                sound = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
                return not sound or connection.execute("PRAGMA user_version").fetchone()[0] not in (0, FORMAT)
        except sqlite3.OperationalError as error:  # busy or unreadable, which says nothing about its content
            raise StorageError(f"cannot read the ledger {self.path}: {error}", "try again") from error
        except sqlite3.DatabaseError:
            return True

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            self.faults("write"),
            closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as connection,
        ):
            connection.execute("BEGIN IMMEDIATE")  # one writer at a time from here; the others wait
            try:
                prepare(connection)
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """None where nothing was ever written. A folder that cannot be written can be read."""
        if not self.path.exists():
            yield None
            return
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        with self.faults("read"), closing(sqlite3.connect(address, timeout=PATIENCE, uri=True)) as connection:
            filled = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'state'").fetchone()[0]
            yield connection if filled else None

    @contextmanager
    def faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            hint = "check the disk and the permissions, and that no process holds the file"
            raise StorageError(f"cannot {what} the ledger {self.path}: {error}", hint) from error
        except sqlite3.DatabaseError as error:
            hint = "rebuild it from the run directories: dlcli ledger --rebuild"
            raise StorageError(f"the ledger {self.path} is damaged: {error}", hint) from error


def prepare(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, FORMAT):
        raise sqlite3.DatabaseError(f"its format is {found}, this version reads {FORMAT}")
    if found == FORMAT:
        return
    for statement in TABLES.split(";")[:-1]:
        connection.execute(statement)
    connection.execute("INSERT INTO state VALUES (?, 0)", (uuid4().hex[:8],))
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def enter(connection: sqlite3.Connection, members: Iterable[Member], embeddings: Iterable[tuple[str, str]]) -> str:
    following = connection.execute("SELECT version + 1 FROM state").fetchone()[0]
    before = connection.total_changes
    finite = [each for each in members if math.isfinite(each.risk)]
    connection.executemany(
        f"INSERT OR IGNORE INTO members ({COLUMNS}, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*each, following) for each in finite],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?)", [(*pair, following) for pair in embeddings]
    )
    if connection.total_changes > before:
        connection.execute("UPDATE state SET version = ?", (following,))
    return state(connection)


def state(connection: sqlite3.Connection) -> str:
    return "{}.{}".format(*connection.execute("SELECT generation, version FROM state").fetchone())


def number(connection: sqlite3.Connection, version: str) -> int:
    generation, newest = connection.execute("SELECT generation, version FROM state").fetchone()
    if not version:
        return newest
    asked, _, position = version.partition(".")
    if asked != generation:
        raise ValueError(f"version {version} is of another generation than the ledger's {generation}.{newest}")
    return int(position)


def member(row: Sequence[Any]) -> Member:
    return Member(*row[:7], attained=None if row[7] is None else bool(row[7]))


def entries(summary: Mapping[str, Any], run: str) -> tuple[list[Member], list[tuple[str, str]]]:
    """What a summary.json (schema dlcli.summary/1) gives to enter: its members in every loss, and its embeddings."""
    keys, members = summary["keys"], []
    own = (summary["run"].get("weights") or {}).get("sha256", "")
    for metric, parts in summary["decomposition"].items():
        place = (keys["class"], keys["data"], loss_key(keys, metric, parts["train"]["unit"]))
        members.append(Member(*place, parts["train"]["value"], ITSELF, own, run, True))
        for each in parts["approx_train"]["bounds_tried"]:
            if (
                each["side"] == "upper"
                and each["kind"] in ("exact", "certified")
                and not each["method"].startswith(LEDGER)
            ):
                members.append(Member(*place, each["value"], each["method"], each["witness"], run, each["attained"]))
    declared, own = summary.get("class", {}), keys["class"]
    wider = [(own, each) for each in declared.get("superclasses", [])]
    return members, wider + [(each, own) for each in declared.get("subclasses", [])]


def loss_key(keys: Mapping[str, str], metric: str, unit: str) -> str:
    """The decomposed risk has its own key, as tasks differ in it; every other metric means the same everywhere."""
    return keys["loss"] if metric == "loss" else f"{metric} ({unit})"


def read_summaries(root: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[Path]]:
    summaries, unreadable = [], []
    for path in sorted(root.rglob("summary.json")):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            entries(summary, "")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            unreadable.append(path)
        else:
            summaries.append((path.parent.relative_to(root).as_posix(), summary))
    return summaries, unreadable
