"""The figures of published facts and of interrupted runs are legible and described."""

import functools

import pandas as pd
import pytest
from drawings import illegible, words

from lablib import datasets
from lablib.errors import LabError
from lablib.views import plots

WATSON = datasets.table("watson-events")
AGREEMENT = datasets.table("watson-concordance")
SHARES = {
    "a failure every hour": {60.0: 0.6, 480.0: 0.8, 3600.0: 0.5},
    "a failure every week": {60.0: 0.65, 3600.0: 0.98, 86_400.0: 0.94},
}
BEST_S = {"a failure every hour": 487.0, "a failure every week": 6318.0}
PICTURES = {
    "events": lambda: plots.events(WATSON),
    "one event": lambda: plots.events(WATSON.head(1), "The first"),
    "concordance": lambda: plots.concordance(AGREEMENT),
    "one study": lambda: plots.concordance(AGREEMENT[AGREEMENT["study"] == "Gachon Gil gastric"]),
    "useful shares": lambda: plots.useful_shares(SHARES, BEST_S),
    "without a formula": lambda: plots.useful_shares(SHARES),
}


@functools.cache
def drawn(name):
    return PICTURES[name]()


@pytest.mark.parametrize("name", PICTURES)
def test_words_are_legible_and_in_their_place(name):
    assert illegible(drawn(name)) == []


def test_every_event_is_drawn_with_its_date_and_said():
    shown = " ".join(words(drawn("events")))
    for event in WATSON.itertuples():
        assert event.date in shown and all(word in shown for word in event.event.split())
        assert f"{event.date}, {event.kind}: {event.event.rstrip('.')}." in drawn("events").alt


def columns(picture):
    """Return the horizontal places of the markers: kind by kind."""
    return [line.get_xdata()[0] for line in picture.axes[0].lines if line.get_marker() != "None"]


def test_an_event_stands_in_the_column_of_its_kind():
    places = columns(drawn("events"))
    by_kind = {kind: {x for x, one in zip(places, WATSON["kind"]) if one == kind}
               for kind in ("promised", "published", "happened")}  # fmt: skip
    assert len(places) == len(WATSON) and all(len(xs) == 1 for xs in by_kind.values())
    assert max(by_kind["promised"]) < max(by_kind["published"]) < max(by_kind["happened"])


def test_an_unknown_kind_of_event_is_an_error():
    with pytest.raises(LabError, match="cannot be drawn") as error:
        plots.events(WATSON.assign(kind="rumoured"))
    assert "'rumoured'" in error.value.saw and "promised, published, happened" in error.value.do
    with pytest.raises(LabError) as error:
        plots.events(WATSON.head(0))
    assert error.value.saw == "an empty table"


def test_the_interval_of_a_share_is_wilsons_and_wide_for_few_patients():
    """The normal approximation would give 29.6 to 53.5 for 27 of 65."""
    alt = drawn("one study").alt
    assert "all patients (65), recommended: 41.5 % (30.4 to 53.7)" in alt
    hundredfold = pd.DataFrame(
        [{"study": "s", "year": 2019, "counted": "c", "among": "all", "patients": 6500,
          "agreed": 2700}]
    )  # fmt: skip
    assert "41.5 % (40.3 to 42.7)" in plots.concordance(hundredfold).alt


def test_a_share_is_drawn_within_its_interval_and_each_definition_has_its_look():
    picture = drawn("one study")
    bars = picture.axes[0].containers
    assert [round(float(bar.lines[0].get_xdata()[0]), 1) for bar in bars] == [41.5, 87.7]
    assert len({bar.lines[0].get_marker() for bar in bars}) == 2
    assert {"recommended", "recommended or for consideration"} <= set(words(picture))


def test_no_study_is_an_error():
    with pytest.raises(LabError, match="no study"):
        plots.concordance(AGREEMENT.head(0))


def test_useful_shares_say_the_best_interval_and_that_they_are_modelled():
    picture = drawn("useful shares")
    assert "(modelled)" in picture.alt and "(modelled)" in " ".join(words(picture))
    assert "a failure every hour: at most 80.0 %, at 8 min; best by the formula at 8.12 min" in (
        picture.alt
    )
    assert "98.0 %, at 1 h; best by the formula at 1.75 h" in picture.alt
    assert "formula" not in drawn("without a formula").alt


def test_a_curve_is_drawn_as_it_was_given_in_per_cent():
    first = drawn("without a formula").axes[0].lines[0].get_xydata()
    assert first.tolist() == [[60, 60], [480, 80], [3600, 50]]


def test_no_useful_share_is_an_error():
    with pytest.raises(LabError, match="no useful share"):
        plots.useful_shares({"a failure every hour": {}})
