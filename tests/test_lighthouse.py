"""The script that measures pages with Lighthouse: its server, its medians, the committed table."""

import gzip
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "lighthouse.json"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import lighthouse

    return lighthouse


def test_files_are_sent_as_a_host_sends_them(bench, tmp_path):
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson" / "index.html").write_text("page " * 1000)
    (tmp_path / "404.html").write_text("lost")
    (tmp_path / "figure.webp").write_bytes(b"picture")
    with bench.served(tmp_path) as address:
        answer = urllib.request.urlopen(address + "lesson/")
        body = answer.read()
        assert gzip.decompress(body) == b"page " * 1000
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["Cache-Control"] == "max-age=600"
        picture = urllib.request.urlopen(address + "figure.webp")
        assert picture.read() == b"picture"
        assert picture.headers["Content-Type"] == "image/webp"
        assert "Content-Encoding" not in picture.headers
        with pytest.raises(urllib.error.HTTPError) as lost:
            urllib.request.urlopen(address + "nothing/")
        assert lost.value.code == 404
        assert gzip.decompress(lost.value.read()) == b"lost"


def report(bench, performance, **audits):
    values = {"largest-contentful-paint": 2000.0, "color-contrast": 1} | audits
    found = {
        name: {"score": 1, "numericValue": values.get(name, 1.0)}
        for name in (*bench.METRICS, "total-byte-weight")
    } | {"color-contrast": {"score": values["color-contrast"]}}
    parts = [{"id": name, "weight": 1} for name in found if name != "total-byte-weight"]
    categories = {name: {"score": 1, "auditRefs": []} for name in bench.CATEGORIES}
    categories["performance"] = {"score": performance, "auditRefs": parts}
    speed = {"benchmarkIndex": 900.4}
    return {"categories": categories, "audits": found, "environment": speed, "calibrated": performance + 0.01}


def test_medians_of_visits_and_what_cost_points(bench):
    visits = [report(bench, 0.8), report(bench, 0.9, **{"color-contrast": 0}), report(bench, 0.99)]
    found = bench.summarise(visits)
    assert found["scores"]["performance"] == 90
    assert found["performance"] == [80, 90, 99]
    assert found["calibrated"] == [81, 91, 100]
    assert found["metrics"]["largest-contentful-paint"] == 2000
    assert found["costs"] == []  # in one visit of three
    assert bench.summarise(visits[1:2])["costs"] == ["color-contrast"]
    assert bench.row("home", found).startswith(
        "| home | 900 | 90 (80–99) | 91 (81–100) | 100 | 100 | 100 | 0.0 | 2.0 |"
    )


def test_a_slow_machine_is_slowed_down_less(bench):
    """The points of the calculator that Lighthouse's documentation names."""
    points = {100: 1, 150: 1, 475: 1.5, 800: 2, 1050: 2.5, 1300: 3, 1533: 4, 1999: 6}
    assert {speed: bench.slowdown(speed) for speed in points} == pytest.approx(points)


def test_the_committed_table_is_whole(bench):
    results = json.loads(RESULTS.read_text())
    assert all(len(case["performance"]) == results["runs"] for case in results["cases"].values())
    assert list(results["cases"]) == list(bench.PAGES)
    assert RESULTS.with_suffix(".md").read_text() == bench.render(results)
