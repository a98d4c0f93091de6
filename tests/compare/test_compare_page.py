"""The three outputs of a whole small comparison: the page stands alone, the table fits, the data is JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from sm3.compare import job as jobs
from sm3.compare import page, report, timing
from sm3.compare.sweep import Watch

HOSTILE = '<script>alert("x")</script>&amp; [bold]$x^2$.txt'
VOID = {"meta", "path", "use", "circle", "rect", "line", "br"}


@pytest.fixture
def result(tmp_path, protocol, contestants, monkeypatch):
    """Three contestants on a text with a hostile name; the large tensors are made small."""
    monkeypatch.setattr(timing, "SHAPES", ((64, 32), (32,)))
    monkeypatch.setattr(timing.time_large, "__defaults__", (((64, 32), (32,)),))
    (tmp_path / HOSTILE.replace("/", "_")).write_text("".join(f"line {i} of words\n" for i in range(3000)))
    text = next(tmp_path.glob("*.txt"))
    chosen = tuple(replace(contestants[name], rates=contestants[name].rates[-2:]) for name in ("AdamW", "SM3", "SMMF"))
    prepared = jobs.prepare(jobs.Job(protocol, chosen, text, output=tmp_path / "out", workers=1))
    return jobs.run(prepared, Watch())


class Tags(HTMLParser):
    """Every tag opened is closed, in order; addresses are collected."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.names = [], [], []

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_asks_for_nothing_and_escapes_everything(result):
    """No address but inside the page, no script, the hostile name only as text, every tag closed, every id once."""
    path, _ = jobs.write(result)
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert all(address.startswith("#") for address in tags.addresses)
    assert "http" not in text
    assert "url(" not in re.sub(r"url\(#", "", text)
    assert "script" not in tags.names
    assert "&lt;script&gt;" in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in tags.addresses} <= set(ids)


def test_the_figures_are_svg_with_text_in_the_colour_of_the_page(result):
    """Four of them; each is well-formed, scales with the page, and none is empty."""
    text = jobs.write(result)[0].read_text(encoding="utf-8")
    figures = re.findall(r"<figure>(<svg.*?</svg>)", text, flags=re.DOTALL)
    assert len(figures) == len(page.CAPTIONS) == 4
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert "viewBox" in root.attrib
        assert "width" not in root.attrib
        assert "currentColor" in figure
        assert "#010203" not in figure
        assert any("#8a8a8a" in part.get("style", "") for part in root.iter("path")), "no line of AdamW"
        assert len(list(root.iter("text"))) > 4


def test_the_same_result_gives_the_same_page(result):
    """No date, no random id."""
    assert jobs.write(result)[0].read_bytes() == jobs.write(result)[0].read_bytes()


def test_the_table_fits_and_shows_every_contestant(result, capsys):
    """Not wider than the lines around it; brackets of the user's text are not markup."""
    report.show(result)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= report.PIPED_WIDTH
    for name in ("AdamW", "SM3", "SMMF", "[min, max]", "[bold]$x^2$"):
        assert name in out
    assert "…" not in out


def test_the_data_has_what_a_rerun_needs(result):
    """Strict JSON: command, settings with rates, hash of the text, machine, versions, and every run."""
    _, path = jobs.write(result)
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["command"].startswith("sm3 compare")
    assert {"protocol", "contestants", "task", "threads", "versions", "code", "kernels"} <= found["settings"].keys()
    assert len(found["settings"]["task"]["corpus"]["blake2b"]) == 32
    assert len(found["runs"]) == 3 * 4
    assert {"processor", "cores", "system"} <= found["machine"].keys()
    assert [row["name"] for row in found["rows"]] == ["AdamW", "SM3", "SMMF"]
    assert all(row["state_bytes"] == row["planned_state_bytes"] for row in found["rows"])


def test_a_user_model_has_no_landmarks_and_its_own_unit(tmp_path, protocol, contestants, monkeypatch):
    """Nothing on the page speaks of bytes of text."""
    monkeypatch.setattr(timing.time_large, "__defaults__", (((8, 4),),))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "page_job.py").write_text(
        "import torch\n"
        "def job(seed):\n"
        "    m = torch.nn.Linear(2, 1)\n"
        "    return m, iter([torch.ones(3, 2)] * 99), lambda model, x: model(x).square().mean()\n"
    )
    chosen = (replace(contestants["AdamW"], rates=(1e-3,)),)
    prepared = jobs.prepare(jobs.Job(protocol, chosen, model="page_job:job", output=tmp_path / "out"))
    result = jobs.run(prepared, Watch())
    assert result.landmarks == {}
    text = jobs.write(result)[0].read_text()
    assert "gzip" not in text
    assert "the model of page_job:job" in text
