"""The server bounds its input, survives every model, and changes version without a failed request.

Canary, deployment and traffic use the same server.
"""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
import small_models

from lablib.errors import LabError
from lablib.ops import client, deploy, live_traffic, server, traffic
from lablib.ops.registry import Registry

IMAGE = [0.0] * 64


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry whose version 1 is the champion, and its running server."""
    registry = Registry(tmp_path_factory.mktemp("state"))
    registry.promote(small_models.register(registry, registry.state))
    with small_models.server(registry.state):
        yield registry


@pytest.fixture
def champion(registry):
    """The champion, version 1, alone; also after the test."""
    yield 1
    registry.promote(1)
    client.reload(registry.state)


def register(registry, model=None, steps=100):
    return small_models.register(registry, registry.state, model, steps)


def try_out(registry, version, share=0.0):
    registry.set_challenger(version, share)
    return client.reload(registry.state)


def images(number=20):
    found, labels = traffic.stream()
    return found[:number], labels[:number]


def test_the_answer_names_digits_confidence_and_version(registry, champion):
    x, labels = images()
    answer = client.ask(registry.state, x)
    assert answer.status == 200 and answer.version == champion
    assert np.mean(np.array(answer.digits) == labels) > 0.8
    assert all(0.1 <= confidence <= 1 for confidence in answer.confidence)


@pytest.mark.parametrize(
    "body, status",
    [
        (json.dumps({"images": [IMAGE]}), 200),
        (json.dumps({"images": [IMAGE] * server.MOST_IMAGES}), 200),
        (json.dumps({"images": [[16] * 64]}), 200),
        ("", 422),
        ("not JSON", 422),
        (b"\xff\xfe", 422),
        ("[" * 100_000, 422),
        ("{}", 422),
        (json.dumps({"images": []}), 422),
        (json.dumps({"images": IMAGE}), 422),
        (json.dumps({"images": [IMAGE[1:]]}), 422),
        (json.dumps({"images": [IMAGE] * (server.MOST_IMAGES + 1)}), 422),
        (json.dumps({"images": [[16.1] * 64]}), 422),
        (json.dumps({"images": [[-1] * 64]}), 422),
        (json.dumps({"images": [[float("nan")] * 64]}), 422),
        (json.dumps({"images": [[float("inf")] * 64]}), 422),
        ('{"images": [[' + "1e999," * 63 + "1e999]]}", 422),
        (json.dumps({"images": [["1"] * 64]}), 422),
        (json.dumps({"images": [[True] * 64]}), 422),
        (json.dumps({"images": [IMAGE], "version": 1}), 422),
        (b" " * (server.MOST_BYTES + 1), 413),
    ],
)
def test_what_breaks_a_bound_is_refused(registry, champion, body, status):
    found, answer = client.call(registry.state, "POST", "/predict", body)
    assert found == status
    assert ("error" in answer) == (status != 200) and len(answer.get("error", "")) < 300


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("POST", "/predict?version=99", 404),
        ("POST", "/predict?version=x", 404),
        ("POST", "/predict?version=%C2%B2", 404),
        ("GET", "/predict", 405),
        ("GET", "/docs", 404),
        ("GET", "/", 404),
    ],
)
def test_other_paths_and_versions_are_refused(registry, champion, method, path, status):
    assert client.call(registry.state, method, path, json.dumps({"images": [IMAGE]}))[0] == status


@pytest.mark.parametrize(
    "model, status",
    [
        (small_models.RAISES, 500),
        (small_models.HANGS, 504),
        (small_models.EXITS, 500),
        (small_models.NOT_NUMBERS, 500),
        ("raise SystemExit", 500),
    ],
    ids="raises hangs exits nan import".split(),
)
def test_a_version_that_cannot_be_loaded_gets_no_request(registry, champion, model, status):
    version = register(registry, model)
    problems = try_out(registry, version, share=1.0)
    assert list(problems) == [str(version)]
    assert client.serving(registry.state).challenger is None
    registry.promote(version)
    assert list(client.reload(registry.state)) == [str(version)]
    assert client.ask(registry.state, images()[0]).version == champion


def only_blank(text):
    """A model that answers the blank image, with which the server tries it, and fails then."""
    return small_models.MODEL.read_text().replace(
        "    hidden =", f"    if images.max() > 0:\n        {text}\n    hidden =", 1
    )


@pytest.mark.parametrize(
    "text, status",
    [("raise ValueError('late')", 500), ("import os; os._exit(3)", 500), ("while True: pass", 504)],
)
def test_a_version_that_fails_later_fails_alone(registry, champion, text, status):
    version = register(registry, only_blank(text))
    assert try_out(registry, version) == {}
    x, _ = images()
    for _ in range(2):
        answer = client.ask(registry.state, x, version=version)
        assert (answer.status, answer.version) == (status, version)
        assert client.ask(registry.state, x).status == 200
    blank = np.zeros((1, 64))
    assert client.ask(registry.state, blank, version=version).status == 200


def test_what_a_model_prints_does_not_get_into_its_answers(registry, champion):
    version = register(registry, small_models.PRINTS)
    assert try_out(registry, version) == {}
    x, _ = images()
    answer = client.ask(registry.state, x, version=version)
    assert answer.digits == client.ask(registry.state, x).digits


def test_the_canary_share_is_kept_and_decided_by_the_request_id(registry, champion):
    version = register(registry, steps=90)
    try_out(registry, version, share=0.3)
    x, _ = images(1)
    ids = [str(number) for number in range(100)]
    first = [client.ask(registry.state, x, request_id=each).version for each in ids]
    again = [client.ask(registry.state, x, request_id=each).version for each in ids]
    assert first == again and 15 <= first.count(version) <= 45


def failed_requests(registry, change):
    """Count how many requests of three threads fail while `change` runs, and all of them."""
    x, _ = images()
    statuses, done = [], threading.Event()

    def ask():
        while not done.is_set():
            statuses.append(client.ask(registry.state, x).status)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    change()
    done.set()
    for thread in threads:
        thread.join()
    return sum(status != 200 for status in statuses), len(statuses)


def test_changing_the_champion_fails_no_request(registry, champion):
    other = register(registry, steps=90)

    def change():
        for version in (other, champion) * 5:
            registry.promote(version)
            client.reload(registry.state)
            assert client.ask(registry.state, images()[0]).version == version

    failed, number = failed_requests(registry, change)
    assert failed == 0 and number > 20


def test_that_claim_can_fail(registry, champion):
    broken = register(registry, only_blank("raise ValueError"))

    def change():
        registry.promote(broken)
        client.reload(registry.state)
        client.ask(registry.state, images()[0])
        time.sleep(0.1)

    assert failed_requests(registry, change)[0] > 0


def test_metrics_count_requests_by_version_and_status(registry, champion):
    import http.client
    from urllib.parse import urlsplit

    client.ask(registry.state, images()[0])
    url = json.loads((registry.state / "server.json").read_text())["url"]
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert 'requests_total{status="200",version="1"}' in text
    assert 'latency_seconds_count{version="1"}' in text


@pytest.fixture
def job(registry, champion, monkeypatch, tmp_path):
    """Run the job `deploy` with a rule; return its exit status and its `reason.json`."""
    monkeypatch.setenv("PIPELINE_STATE", str(registry.state))
    monkeypatch.setenv("PIPELINE_RUN", str(tmp_path))

    def run(version, rule=lambda champion, challenger: deploy.PROMOTE):
        status = deploy.main([str(version)], rule)
        return status, json.loads((tmp_path / "reason.json").read_text())

    return run


def project_rule():
    from lablib.ops import model_files, repository

    return model_files.load_module(repository.TEMPLATE / "canary_rule.py").decide


def test_a_good_version_is_promoted(registry, job):
    version = register(registry, steps=110)
    status, reason = job(version, project_rule())
    assert status == 0 and reason["passed"] and reason["version"] == version
    now = client.serving(registry.state)
    assert (now.champion, now.challenger, now.previous) == (version, None, 1)


@pytest.mark.parametrize(
    "model",
    [small_models.UNSCALED, small_models.RAISES, only_blank("raise ValueError('late')")],
    ids=["unscaled", "cannot be loaded", "raises"],
)
def test_a_version_that_fails_in_production_is_rolled_back(registry, champion, job, model):
    version = register(registry, model)
    status, reason = job(version, project_rule())
    assert status == 1 and not reason["passed"]
    assert client.serving(registry.state).champion == champion
    assert registry.serving().challenger is None


def test_that_claim_needs_the_rule(registry, job):
    """The twin: without the canary, the version that misses the scaling is promoted."""
    version = register(registry, small_models.UNSCALED)
    assert job(version)[0] == 0
    assert client.serving(registry.state).champion == version


def test_the_rule_gets_the_counts_of_both_versions(registry, job):
    seen = []

    def rule(champion, challenger):
        seen.extend((champion, challenger))
        return deploy.ROLL_BACK

    assert job(register(registry), rule)[0] == 1
    champion, challenger = seen
    assert champion.requests + challenger.requests == 359
    assert 70 <= challenger.requests <= 150
    for each in seen:
        assert len(each.latencies_s) == each.requests and each.errors == 0
        assert 0.8 < each.accuracy <= 1


def test_a_rule_without_a_decision_leaves_the_champion(registry, champion, job):
    with pytest.raises(LabError, match="no decision"):
        job(register(registry), lambda champion, challenger: None)
    assert client.serving(registry.state).champion == champion
    assert registry.serving().challenger is None


def test_traffic_measures_each_request(registry, champion):
    found = traffic.send(registry.state, 60, shift=traffic.inverted)
    assert list(found.table.columns) == [
        "time_s", "version", "latency_s", "error", "correct", "confidence"
    ]  # fmt: skip
    assert found.drift.found and found.table["correct"].mean() < 0.3
    same = traffic.send(registry.state, 60)
    assert not same.drift.found and same.table["correct"].mean() > 0.8
    assert set(same.table["version"]) == {champion}


def test_live_traffic_is_drawn_while_it_comes_in_and_then_removed(registry, champion, monkeypatch):
    drawn, closed = [], []

    class Figure:
        value = property(fset=lambda self, page: drawn.append(page))
        close = staticmethod(lambda: closed.append(True))

    monkeypatch.setattr(live_traffic, "in_notebook", lambda: True)
    monkeypatch.setattr(live_traffic, "_figure", Figure)
    monkeypatch.setattr(live_traffic, "_EVERY_S", 0)
    found = traffic.send(registry.state, 12, shift=traffic.inverted, shift_from=6, per_second=50)
    assert len(drawn) == len(set(drawn)) == 12 and closed == [True]
    assert all("<img" in page for page in drawn)
    assert found.table["correct"][:6].mean() > 0.5 > found.table["correct"][6:].mean()
    assert found.table["time_s"].is_monotonic_increasing


def test_a_first_version_needs_right_answers_only(tmp_path, monkeypatch):
    registry = Registry(tmp_path)
    registry.serving()
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path))
    monkeypatch.setenv("PIPELINE_RUN", str(tmp_path))
    with small_models.server(tmp_path):
        assert client.ask(tmp_path, images()[0]).status == 503
        bad = register(registry, steps=0)
        assert deploy.main([str(bad)], None) == 1
        good = register(registry)
        assert deploy.main([str(good)], None) == 0
        assert client.serving(tmp_path).champion == good
