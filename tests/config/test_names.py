import string

from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli import registry
from dlcli.config import check, composition
from dlcli.config.names import edits, nearest

LETTERS = string.ascii_lowercase + string.digits + "_"


def single_edits(word):
    """Every word that one slip of the finger makes of `word`."""
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    deleted = {a + b[1:] for a, b in cuts if b}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    replaced = {a + c + b[1:] for a, b in cuts if b for c in LETTERS}
    inserted = {a + c + b for a, b in cuts for c in LETTERS}
    return sorted((deleted | swapped | replaced | inserted) - {word, ""})


def suggested(default, section, typo):
    """The name that is suggested first for a misspelled key of a section."""
    config = {**default, section: {**default[section], typo: 1}} if section else {**default, typo: 1}
    hints = [problem.hint for problem in check.check(config, {}) if "unknown" in problem.text]
    return hints[0].partition("did you mean '")[2].partition("'")[0] if hints else None


def test_95_percent_of_the_typos_of_a_setting_are_answered_with_its_name():
    default = composition.plain(composition.Loader().compose([]).config)
    right = wrong = 0
    for section in (*registry.FOLDERS, "training", "checkpoint", "decompose", ""):
        names = default[section] if section else check.Top._fields
        for name in names:
            if name == "name" and section:
                continue  # not a setting
            full = f"{section}.{name}" if section else name
            for typo in single_edits(name)[::7]:
                if typo in names or typo in default:
                    continue  # another legal name
                guess = suggested(default, section, typo)
                if guess is None:
                    continue  # a reserved or supplied name
                right, wrong = right + (guess == full), wrong + (guess != full)
    assert right + wrong > 3000
    assert right / (right + wrong) >= 0.95


def test_95_percent_of_the_typos_of_a_section_are_answered_with_its_name():
    default = composition.plain(composition.Loader().compose([]).config)
    right = total = 0
    for section, key in (
        ("optimizer", "lr"),
        ("training", "batch_size"),
        ("model", "width"),
        ("dataset", "label_noise"),
    ):
        for typo in single_edits(section)[::5]:
            (problem,) = check.check({**default, typo: {key: 1}}, {})
            right, total = right + problem.hint.startswith(f"did you mean '{section}.{key}'?"), total + 1
    assert total > 300 and right / total >= 0.95


def test_a_name_that_agrees_in_its_last_part_wins():
    assert nearest("lr", ["tags", "optimizer.lr", "seed"]) == "optimizer.lr"


def test_an_unrelated_word_is_answered_with_nothing():
    assert nearest("xylophone", ["lr", "momentum"]) is None
    assert nearest("anything", []) is None


def test_a_word_of_a_million_letters_is_answered_at_once():
    assert nearest("x" * 1_000_000, ["optimizer.lr"] * 100) is None


@settings(max_examples=100)
@given(st.text(LETTERS, max_size=8), st.text(LETTERS, max_size=8), st.text(LETTERS, max_size=8))
def test_edits_are_symmetric_and_zero_only_for_equal_words(left, right, third):
    assert edits(left, right) == edits(right, left)
    assert (edits(left, right) == 0) == (left == right)
    assert abs(len(left) - len(right)) <= edits(left, right) <= max(len(left), len(right))
