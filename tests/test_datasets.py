"""The data agree with their cards, and sharding puts every sample on exactly one rank."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import runpy
import shutil
import tomllib

import numpy as np
import pytest

from lablib import datasets
from lablib.errors import LabError

CHECKSUMS = tomllib.loads((datasets.FOLDER / "checksums.toml").read_text())


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Make a copy of datasets/ that a test may damage."""
    monkeypatch.setattr(datasets, "FOLDER", shutil.copytree(datasets.FOLDER, tmp_path / "datasets"))
    return datasets.FOLDER


@pytest.mark.parametrize(
    "name, samples, tests, shape",
    [
        ("digits", 1797, 359, (8, 8)),
        ("cancer", 569, 113, (30,)),
        ("actg175", 2139, 427, (13,)),
        ("stdlib-text", 642_992, 64_299, ()),
    ],
)
def test_a_data_set_has_the_size_on_its_card(name, samples, tests, shape):
    data = datasets.load(name)
    assert data.x.shape == (samples, *shape) and len(data.y) == samples
    assert (len(data.train[0]), len(data.test[1])) == (samples - tests, tests)


def test_train_and_test_together_are_the_whole_set():
    data = datasets.load("digits")
    both = np.concatenate([data.train[0], data.test[0]])
    assert sorted(map(bytes, both)) == sorted(map(bytes, data.x))


def test_the_values_are_those_of_scikit_learn():
    from sklearn.datasets import load_breast_cancer, load_digits

    digits, cancer = datasets.load("digits"), datasets.load("cancer")
    assert np.array_equal(digits.x * 16, load_digits().images)
    assert np.array_equal(digits.y, load_digits().target)
    assert np.array_equal(cancer.x, load_breast_cancer().data.astype(np.float32))
    assert [cancer.classes[y] for y in cancer.y[:20:19]] == ["malignant", "benign"]
    assert cancer.columns[0] == "mean_radius" and len(cancer.columns) == 30


def test_text_is_to_be_predicted_byte_by_byte():
    data = datasets.load("stdlib-text")
    assert bytes(data.x[:16]) == b"# Copyright 2007"
    assert np.array_equal(data.x[1:], data.y[:-1])


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(LabError) as error:
        datasets.load("digts")
    assert "actg175, cancer, digits, stdlib-text" in error.value.saw
    assert error.value.do == "did you mean 'digits'?"


def test_a_damaged_file_is_named_with_both_checksums_and_the_cure(copy):
    file = copy / "digits.csv"
    datasets.load("digits")
    damaged = file.read_bytes().replace(b"0", b"1", 1)
    file.write_bytes(damaged)
    with pytest.raises(LabError) as error:
        datasets.load("digits")
    assert "datasets/digits.csv is damaged" in error.value.wrong
    assert hashlib.sha256(damaged).hexdigest() in error.value.saw
    assert CHECKSUMS["digits"]["sha256"] in error.value.saw
    assert "git checkout -- datasets/digits.csv" in error.value.do
    assert datasets.load("cancer").name == "cancer"


@pytest.mark.parametrize(
    "gone, words", [("digits.csv", "digits.csv cannot"), ("checksums.toml", "list of data sets")]
)
def test_a_missing_file_is_named_with_the_cure(copy, gone, words):
    (copy / gone).unlink()
    with pytest.raises(LabError, match=words) as error:
        datasets.load("digits")
    assert f"git checkout -- datasets/{gone}" in error.value.do


def area_under_the_curve(columns, y=None):
    """Return how well logistic regression on these columns of actg175 ranks the test patients."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = datasets.load("actg175")
    x = data.x[:, [data.columns.index(name) for name in columns]]
    y = data.y if y is None else y
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(x[~data.is_test], y[~data.is_test])
    return roc_auc_score(y[data.is_test], model.predict_proba(x[data.is_test])[:, 1])


def test_the_outcome_of_actg175_can_be_learnt_mostly_from_the_count_at_the_start():
    data = datasets.load("actg175")
    card = (datasets.FOLDER / "actg175.md").read_text()
    all_features = area_under_the_curve(data.columns)
    assert f"ROC curve of {all_features:.2f} on the test set" in card and all_features > 0.85
    without = area_under_the_curve([name for name in data.columns if name != "cd4"])
    assert f"without `cd4`\nthe area is {without:.2f}" in card and without < 0.65
    assert 0.48 < data.y.mean() < 0.5, "a guess is right for one patient in two"


def test_that_claim_about_the_outcome_can_fail():
    shuffled = np.random.default_rng(0).permutation(datasets.load("actg175").y)
    assert area_under_the_curve(datasets.load("actg175").columns, shuffled) < 0.6


def test_the_groups_of_actg175_are_those_on_its_card():
    data = datasets.load("actg175")
    gender, race, age = (data.x[:, data.columns.index(name)] for name in ("gender", "race", "age"))
    assert (int((gender == 0).sum()), int((gender == 1).sum())) == (368, 1771)
    assert (int((race == 0).sum()), int((race == 1).sum())) == (1522, 617)
    assert 12 <= age.min() < age.max() <= 70
    drugs = data.x[:, data.columns.index("zidovudine") :]
    assert {tuple(row) for row in drugs} == {(1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 0)}


# The first two lines of ACTG175.csv in lifelines 0.30.3.
ORIGINAL = """\
"","pidnum","age","wtkg","hemo","homo","drugs","karnof","oprior","z30","zprior","preanti","race",\
"gender","str2","strat","symptom","treat","offtrt","cd40","cd420","cd496","r","cd80","cd820",\
"cens","days","arms"
"1",10056,48,89.8128,0,0,0,100,0,0,1,0,0,0,0,1,0,1,0,422,477,660,1,566,324,0,948,2
"2",10059,61,49.4424,0,0,0,90,0,1,1,895,0,0,1,3,0,1,0,162,218,NA,0,392,564,1,1002,3
""".splitlines()


def test_actg175_is_made_from_the_package_without_identity():
    make = runpy.run_path(str(datasets.FOLDER / "make.py"))
    made = make["without_identity"](ORIGINAL)
    file = (datasets.FOLDER / "actg175.csv").read_bytes()
    assert file.startswith(made) and made.count(b"\n") == 3
    assert not {b"pidnum", b"homo", b"drugs"} & {*file.partition(b"\n")[0].split(b",")}


def test_actg175_is_made_from_the_recorded_version_only(monkeypatch):
    make = runpy.run_path(str(datasets.FOLDER / "make.py"))

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(LabError, match="one version of the package lifelines") as error:
        make["actg175"]()
    assert "installed: none" in error.value.saw and "lifelines==0.30.3" in error.value.do


@pytest.mark.parametrize("name", datasets.table_names())
def test_every_row_of_a_table_has_its_source_its_address_and_a_date(name):
    table = datasets.table(name)
    assert len(table) >= 5 and table["source"].str.len().min() > 10
    assert table["url"].str.match(r"https?://[\w.-]+/\S+$").all()
    assert table["read_on"].str.match(r"2026-\d\d-\d\d$").all()
    assert re.search(rf"\| Samples \| {len(table)} ", card_of(name))


def card_of(name):
    return (datasets.FOLDER / f"{name}.md").read_text()


def test_the_shares_of_the_concordance_table_are_its_counts():
    table = datasets.table("watson-concordance")
    shares = table["agreed"] / table["patients"]
    # Sources print two or three digits; "nearly 80 %" is the least exact.
    assert (shares - table["agree_share"]).abs().max() < 0.006
    assert (table["agreed"] <= table["patients"]).all()
    assert f"25 rows of {table['study'].nunique()} studies" in card_of("watson-concordance")
    gil = table[table["study"] == "Gachon Gil gastric"].set_index("counted")["agree_share"]
    assert gil.to_dict() == {"recommended": 0.415, "recommended or for consideration": 0.877}


def test_the_interruptions_add_up_as_the_card_says():
    table = datasets.table("run-interruptions")
    assert table["count"].sum() == 419
    assert round(table["printed_percent"].sum(), 1) == 94.9
    wrong = table[(100 * table["count"] / 419 - table["printed_percent"]).abs() > 0.06]
    assert wrong["cause"].tolist() == ["Faulty GPU"]
    on_gpus = table["component"] == "GPU"
    assert round(table["printed_percent"][on_gpus].sum(), 1) == 58.7
    assert round(100 * table["count"][on_gpus].sum() / 419, 1) == 64.0


def test_events_are_in_the_order_of_time_and_of_three_kinds():
    table = datasets.table("watson-events")
    assert table["date"].is_monotonic_increasing
    assert set(table["kind"]) == {"promised", "published", "happened"}


def test_an_unknown_table_is_answered_with_the_known_ones():
    with pytest.raises(LabError) as error:
        datasets.table("watson-event")
    assert error.value.do == "did you mean 'watson-events'?"
    with pytest.raises(LabError):
        datasets.table("digits")
    with pytest.raises(LabError):
        datasets.load("watson-events")


def test_a_damaged_table_is_refused(copy):
    file = copy / "run-interruptions.csv"
    file.write_bytes(file.read_bytes().replace(b"148", b"126"))
    with pytest.raises(LabError, match="damaged"):
        datasets.table("run-interruptions")


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_card_states_the_checksum_and_where_the_data_is_from(name):
    card = (datasets.FOLDER / f"{name}.md").read_text()
    assert f"| SHA-256 | `{CHECKSUMS[name]['sha256']}` |" in card
    for row in ("File", "Samples", "Source", "Citation", "Licence", "Changes", "Made by"):
        assert f"| {row} | " in card


def test_a_file_is_small_and_its_line_ends_are_kept_by_git():
    kept = (datasets.FOLDER / ".gitattributes").read_text()
    for entry in CHECKSUMS.values():
        assert (datasets.FOLDER / entry["file"]).stat().st_size < 1_000_000
        assert f"*.{entry['file'].split('.')[-1]} -text" in kept


def test_the_script_makes_the_same_files_again():
    make = runpy.run_path(str(datasets.FOLDER / "make.py"))
    for file in ("digits.csv", "cancer.csv"):
        made = {name: maker for name, maker in make["MAKERS"].values()}[file]()
        assert made == (datasets.FOLDER / file).read_bytes()
    assert make["checksums"]() == (datasets.FOLDER / "checksums.toml").read_text()


def test_the_text_is_made_from_the_recorded_python_only(monkeypatch):
    make = runpy.run_path(str(datasets.FOLDER / "make.py"))
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    with pytest.raises(LabError, match="another Python version") as error:
        make["stdlib_text"]()
    assert "Python 3.99.0" in error.value.saw and make["PYTHON"] in error.value.do


def test_the_text_made_from_the_recorded_python_is_the_file():
    make = runpy.run_path(str(datasets.FOLDER / "make.py"))
    if platform.python_version() == make["PYTHON"]:
        assert make["stdlib_text"]() == (datasets.FOLDER / "stdlib-text.txt").read_bytes()


def dealt(shard, samples, ranks):
    """Return True if each sample is on one rank, in order, and shards are evenly large."""
    shards = [shard(np.arange(samples), rank, ranks) for rank in range(ranks)]
    sizes = [len(part) for part in shards]
    return np.concatenate(shards).tolist() == list(range(samples)) and max(sizes) - min(sizes) <= 1


UNEVEN = [(samples, ranks) for samples in (0, 1, 7, 8, 9, 1438) for ranks in (1, 2, 3, 4, 8, 16)]


@pytest.mark.parametrize("samples, ranks", UNEVEN)
def test_every_sample_is_on_one_rank_and_shards_are_even(samples, ranks):
    assert dealt(datasets.shard, samples, ranks)


@pytest.mark.parametrize(
    "cheat",
    [
        lambda array, rank, ranks: array[rank * (len(array) // ranks) :][: len(array) // ranks],
        lambda array, rank, ranks: array[rank::ranks],
        lambda array, rank, ranks: array[rank * -(-len(array) // ranks) :][
            : -(-len(array) // ranks)
        ],
    ],
    ids=["drops the tail", "not contiguous", "last one short by more"],
)
def test_that_claim_can_fail(cheat):
    assert not all(dealt(cheat, samples, ranks) for samples, ranks in UNEVEN)


@pytest.mark.parametrize(
    "rank, ranks", [(4, 4), (-1, 4), (0.0, 4), (True, 4), (0, 0), (0, -1), (0, 2.5), ("0", 4)]
)
def test_a_rank_that_is_none_is_refused(rank, ranks):
    with pytest.raises(LabError):
        datasets.shard([1, 2, 3], rank, ranks)


def share_right(data):
    """Return the share of test samples whose nearest class mean is that of their own class."""
    (x, y), (tests, truth) = data.train, data.test
    means = np.stack([x[y == c].mean(0) for c in range(len(data.classes))])
    nearest = np.linalg.norm(tests[:, None] - means, axis=2).argmin(1)
    return (nearest == truth).mean()


def test_synthetic_classes_can_be_learnt_and_nearer_ones_less_well():
    far, near = (datasets.synthetic_classification(2000, 16, 4, distance=d) for d in (8, 1))
    assert share_right(far) > 0.95 > 0.6 > share_right(near)


def test_synthetic_targets_are_linear_up_to_the_noise():
    data = datasets.synthetic_regression(1000, 8, outputs=2, noise=0.1)
    fitted, *_ = np.linalg.lstsq(*data.train, rcond=None)
    assert np.std(data.test[0] @ fitted - data.test[1]) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("make", [datasets.synthetic_classification, datasets.synthetic_regression])
def test_synthetic_data_follows_from_its_seed(make):
    first, again, other = make(50, 3, seed=1), make(50, 3, seed=1), make(50, 3, seed=2)
    assert np.array_equal(first.x, again.x) and np.array_equal(first.y, again.y)
    assert not np.array_equal(first.x, other.x)
    with pytest.raises(LabError, match="features must be"):
        make(50, 0)
