"""From a table to sentences, tables, figures and a page: what is said is true, and what cannot be said is not."""

from __future__ import annotations

import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest

from sm3.errors import InputError, SettingError
from sm3.poly import Categorical, PolynomialRegressor
from sm3.poly.report import pictures
from sm3.poly.report.analysis import Analysis, analyse
from sm3.poly.report.learning_curve import learning_curve
from sm3.poly.report.page import effects, page, write_page
from sm3.poly.report.summary import as_data, index_rows, notes, pair_rows
from sm3.poly.report.verdict import sentences
from sm3.poly.tables.from_table import fit_problem, input_names, output_names, predict_table, problem_of
from sm3.poly.tables.table import Table, read_table

CORNERS = [(-1, 1)] * 3


def table_of(**columns: list[object]) -> Table:
    """A table as if read from a file whose header is on line 1."""
    cells = tuple(tuple(str(cell) for cell in column) for column in columns.values())
    return Table("runs.csv", tuple(columns), cells, tuple(range(2, 2 + len(cells[0]))))


def fitted(function, *, rows: int = 100, dimension: int = 3, seed: int = 0, **settings) -> PolynomialRegressor:
    x = np.random.default_rng(seed).uniform(-1, 1, (rows, dimension))
    return PolynomialRegressor([(-1, 1)] * dimension, **{"solver": "omp", **settings}).fit(x, function(x))


@pytest.fixture(scope="module")
def clear() -> Analysis:
    """x0 dominates, x2 does nothing, x0 and x1 interact: (1 + x0)(1 + 3/5 x1), V = 37/75."""
    return analyse(fitted(lambda x: (1 + x[:, 0]) * (1 + 0.6 * x[:, 1]), solver="auto"), source="runs.csv")


# --- from a table ---


def test_columns_get_their_roles():
    """Without inputs.toml every other column is an input, on the range of its data."""
    table = table_of(id=range(30), a=np.linspace(0, 1, 30), b=np.linspace(0, 1, 30)[::-1] ** 2, y=range(30), w=[1] * 30)
    problem = problem_of(table, ["y"], ignore=["id"], weight="w")
    assert problem.names == ("a", "b")
    assert problem.inputs == ("auto", "auto")
    assert problem.X.shape == (30, 2)
    assert problem.y.shape == problem.weight.shape == (30,)
    stated = problem_of(table, ["y", "id"], {"b": (0, 1)})
    assert stated.names == ("b",)
    assert stated.y.shape == (30, 2)
    assert stated.left_out == ("a", "w")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"targets": ["z"]}, "no column 'z'"),
        ({"targets": ["y"], "ignore": ["z"]}, "no column 'z'"),
        ({"targets": ["y"], "inputs": {"z": (0, 1)}}, "no column 'z'"),
        ({"targets": ["y"], "inputs": {"y": (0, 1)}}, "two roles: 'y'"),
        ({"targets": ["y"], "weight": "y"}, "two roles: 'y'"),
        ({"targets": ["y", "y"]}, "two roles: 'y'"),
        ({"targets": ["y", "a"], "ignore": ["kind", "b"]}, "runs.csv has no inputs"),
        ({"targets": ["kind"]}, "no number: runs.csv, line 2, column 3 ('kind')"),
        ({"targets": ["y"]}, "no number: runs.csv, line 2, column 3 ('kind')"),
        ({"targets": ["y"], "inputs": {"a": (0, 0.5)}}, "contradicts the distribution of its input: runs.csv, line 3"),
        (
            {"targets": ["y"], "inputs": {"kind": Categorical(["u", "w"])}},
            "none of the values of its input: runs.csv, line 3",
        ),
        ({"targets": ["a"], "weight": "y", "inputs": {"kind": "auto"}}, "no number: runs.csv, line 2, column 3"),
        ({"targets": ["b"], "weight": "y", "inputs": {"a": "auto"}}, "a weight is negative: runs.csv, line 3"),
    ],
)
def test_a_cell_or_column_that_does_not_fit_is_told_with_its_place(arguments, expected):
    """Before anything is fitted."""
    table = table_of(a=[0, 1], y=[3, -4], kind=["u", "v"], b=[0, 0])
    with pytest.raises(InputError) as caught:
        problem_of(table, **arguments)
    assert expected in str(caught.value)


def test_labels_are_words_or_numbers():
    """7.0 in a file is the level 7; a word is itself."""
    table = table_of(size=["7", "7.0", "9"], word=[" a", "b", "a"], y=[1, 2, 3])
    problem = problem_of(table, ["y"], {"size": Categorical([7, 9]), "word": Categorical(["a", "b"])})
    assert problem.X.tolist() == [[7, "a"], [7, "b"], [9, "a"]]


def test_a_model_of_a_table_knows_names_and_predicts_rows_in_any_order():
    """Columns are found by name; rows outside the domain are warned about once, with the name of the input."""
    rng = np.random.default_rng(0)
    speed, load = rng.uniform(10, 30, 60), rng.uniform(1, 2, 60)
    table = table_of(speed=speed, load=load, stress=speed * load)
    model = fit_problem(problem_of(table, ["stress"], {"speed": (10, 30), "load": (1, 2)}), solver="omp")
    assert input_names(model) == ("speed", "load")
    assert output_names(model) == ("stress",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted, warned = predict_table(model, table_of(load=[1.5, 1.0], extra=["?", "?"], speed=[20, 30]))
        # speed * load is one of the terms
        np.testing.assert_allclose(predicted[:, 0], [30, 30], rtol=1e-9)
        assert warned == []
        _, warned = predict_table(model, table_of(load=[1.5], speed=[300]))
    assert len(warned) == 1
    assert "speed in 1 rows" in warned[0]
    assert "no distribution was given" not in " ".join(model.notes_)
    learned = fit_problem(problem_of(table, ["stress"]), solver="omp")
    assert any(note.startswith("speed, load: no distribution was given") for note in learned.notes_)


# --- what is said ---


def test_the_verdict_on_a_clear_case(clear):
    """V = 1/3 + 3/25 + 1/25 = 37/75: S = (25/37, 9/37), together 3/37."""
    quality, importance, negligible, together = sentences(clear)
    assert quality == (
        "y: on rows it had not seen, the model has Q2 = 1.000 [1.000, 1.000], where 1 is perfect; "
        f"{re.search(r'perfect; (.*) of the', quality)[1]} of the variance is unexplained."
    )
    assert importance == "x0 matters most: its total index is 0.757 [0.757, 0.757]."
    assert negligible == "x2 could be held fixed: it has a hand in less than 5 % of the variance."
    assert together.endswith(
        "8.1 % of the polynomial's variance; the largest pair is x0 with x1, 0.081 [0.081, 0.081]."
    )


def test_inputs_that_are_not_told_apart_are_not_ranked():
    """Equal inputs and some noise: intervals overlap, and it says so."""
    rng = np.random.default_rng(0)
    found = analyse(fitted(lambda x: x[:, 0] + x[:, 1] + 0.2 * rng.standard_normal(len(x))))
    text = " ".join(sentences(found))
    assert "is not told apart from" in text
    assert "matters most" not in text
    assert "The inputs act one by one" in text or "do together makes" in text


def test_a_model_that_predicts_nothing_ranks_nothing():
    """Noise: the indices add up to 1 all the same, and must not be believed."""
    rng = np.random.default_rng(0)
    found = analyse(fitted(lambda x: rng.standard_normal(len(x)), rows=60))
    text = " ".join(sentences(found))
    assert "nothing is ranked here" in text
    assert "matters most" not in text
    assert np.nansum([float(share) for share in found.first[:, 0]]) <= 1 + 1e-9
    # at least half of the variance is not explained, and the intervals say that any input may have it
    assert (found.total_ends[1, :, 0] > 0.5).all()


def test_what_was_not_measured_is_not_told():
    """Nothing held out: no Q2, no intervals, no ranking; a constant: no indices."""
    found = analyse(fitted(lambda x: x[:, 0], cv=None))
    text = " ".join(sentences(found))
    assert "not known how well" in text
    assert "no ranking" in text
    assert found.kind is None
    constant = analyse(fitted(lambda x: np.full(len(x), 2.0)))
    assert sentences(constant)[-1] == "The output does not vary, so there are no indices."
    assert "-" in index_rows(constant, 0)[0][2]
    assert json.loads(json.dumps(as_data(constant), allow_nan=False))["outputs"][0]["q2"] is None


def test_tables_are_sorted_and_an_index_outside_its_interval_is_marked(clear):
    """The largest total on top; pairs below a thousandth are left out."""
    assert [row[0] for row in index_rows(clear, 0)] == ["x0", "x1", "x2"]
    assert [row[0] for row in pair_rows(clear, 0)] == ["x0 x x1"]
    overfitted = fitted(lambda x: np.abs(x[:, 0]) + 0.3 * np.random.default_rng(1).standard_normal(len(x)), rows=40)
    found = analyse(overfitted)
    marked = [row for row in index_rows(found, 0) if "*" in "".join(row)]
    assert bool(marked) == any(line.startswith("*:") for line in notes(found))


def test_groups_are_told(clear):
    """Closed and total; an unknown member is an error of ours."""
    found = analyse(clear.model, groups=[("both", ["x0", "x1"]), ("rest", ["x2"])])
    (both, rest) = as_data(found)["outputs"][0]["groups"]
    assert both["closed"] == pytest.approx(1)
    assert rest["total"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(SettingError, match="x0, x1, x2"):
        analyse(clear.model, groups=[("typo", ["x9"])])


def test_data_are_plain_and_complete(clear):
    """One JSON object without nan; the same numbers as in the tables."""
    data = json.loads(json.dumps(as_data(clear, "sm3 poly fit"), allow_nan=False))
    (output,) = data["outputs"]
    assert [row["name"] for row in output["indices"]] == ["x0", "x1", "x2"]
    assert output["indices"][0]["first"] == pytest.approx(25 / 37)
    assert output["indices"][1]["total"] == pytest.approx(12 / 37)
    assert output["pairs"][0] == {
        "names": ["x0", "x1"],
        "together": pytest.approx(3 / 37),
        "interval": pytest.approx([3 / 37, 3 / 37]),
    }
    assert (data["rows"], data["source"], data["command"]) == (100, "runs.csv", "sm3 poly fit")
    assert data["intervals"] == {"kind": "cross-fit", "level": 0.95}


# --- figures and page ---


class Reader(HTMLParser):
    """Tags, ids and what they refer to; void elements need no end."""

    VOID = ("meta", "path", "use", "rect", "circle", "br", "image")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if values.get("id"):
            self.ids.append(values["id"])
        for value in values.values():
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
        self.references += [v[1:] for k, v in values.items() if k == "href" and v.startswith("#")]
        assert not any((v or "").startswith(("http", "//")) for v in values.values()), values
        assert tag not in ("script", "link", "img", "iframe")

    def handle_startendtag(self, tag, attrs):
        self.open.append(tag) if tag not in self.VOID else None
        self.handle_starttag(tag, attrs)
        while self.open and tag in self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_needs_nothing_else_and_escapes_everything():
    """No script, no address; every id once and every reference met; a name with signs of HTML stays text."""
    rng = np.random.default_rng(0)
    evil = '<b onload="x">&'
    table = table_of(**{evil: rng.uniform(size=60), "b $x$": rng.uniform(size=60), "y": rng.uniform(size=60)})
    model = fit_problem(problem_of(table, ["y"]), solver="omp")
    text = page(analyse(model, source="<runs>", curve=learning_curve(model)), 'sm3 poly fit "<runs>"')
    assert "<b onload" not in text
    assert "http" not in text
    reader = read(text)
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.references) <= set(reader.ids)
    assert any(evil in part for part in reader.texts)
    assert text.count("<svg") == text.count("</svg>") == 5
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    # figures take the ink of the page, in both schemes
    assert "currentColor" in text
    assert "#000000" not in text


def test_the_same_model_gives_the_same_page(clear):
    """Nothing in it depends on the time or on the order of a set."""
    assert page(clear, "x") == page(clear, "x")


def test_a_page_of_many_outputs_has_a_part_for_each():
    """Of more than are read, a part for the first ones; a constant one has no figures."""
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    y = np.column_stack([x[:, 0], np.full(60, 3.0), *(x[:, 1] ** k for k in range(1, 7))])
    model = PolynomialRegressor([(-1, 1)] * 2, solver="omp").fit(x, y)
    text = page(analyse(model), "command")
    read(text)
    assert "All outputs together" in text
    assert "<h2>y5</h2>" in text
    assert "<h2>y6</h2>" not in text
    assert text.count("Share of the variance") == 2  # of three outputs with figures one is constant


def test_a_page_without_folds_is_a_page():
    """No held-out picture, no curve, and no interval."""
    text = page(analyse(fitted(lambda x: x[:, 0] * x[:, 1], cv=None)), "command")
    assert "Each row against the prediction" not in text
    assert "Share of the variance" in text


def test_a_page_that_cannot_be_written_is_an_error_of_ours(clear, tmp_path):
    """With the path."""
    with pytest.raises(InputError, match="could not be written"):
        write_page(tmp_path / "absent" / "page.html", clear, "command")


def test_main_effects_are_conditional_means():
    """f = (1 + x0) (2 if label is a else 1): mean over the other input at each value."""
    rng = np.random.default_rng(0)
    table = np.empty((60, 2), dtype=object)
    table[:, 0], table[:, 1] = rng.uniform(-1, 1, 60), rng.choice(["a", "b"], 60)
    y = (1 + table[:, 0].astype(float)) * np.where(table[:, 1] == "a", 2.0, 1.0)
    found = {
        e.name: e
        for e in effects(
            analyse(PolynomialRegressor([(-1, 1), Categorical(["a", "b"])], solver="omp").fit(table, y)), 0
        )
    }
    np.testing.assert_allclose(found["x0"].y, 1.5 * (1 + found["x0"].x), atol=1e-9)
    assert found["x1"].labels == ("a", "b")
    np.testing.assert_allclose(found["x1"].y, [2, 1], atol=1e-9)


def test_an_unbounded_input_is_drawn_where_it_is():
    """Six standard deviations out a polynomial is not looked at; 99 % of the values are."""
    from scipy import stats

    x = np.random.default_rng(0).normal(5, 2, (50, 1))
    model = PolynomialRegressor([stats.norm(5, 2)], solver="omp").fit(x, x[:, 0] ** 2)
    (effect,) = effects(analyse(model), 0)
    np.testing.assert_allclose(effect.x[[0, -1]], stats.norm(5, 2).ppf([0.005, 0.995]), rtol=1e-9)


@pytest.mark.parametrize(
    "figure",
    [
        lambda: pictures.index_bars(["a"], np.zeros(1), np.zeros(1), None, None, 1.0),
        lambda: pictures.index_bars([f"x{j}" for j in range(60)], np.ones(60) / 60, np.ones(60) / 60),
        lambda: pictures.index_bars(["a", "b"], np.ones(2) / 2, np.ones(2), np.ones((2, 2)), np.ones((2, 2)), 5.0),
        lambda: pictures.main_effects([pictures.Effect("a$b", np.array([1.0, 1e9]), np.zeros(2))], "y" * 99),
        lambda: pictures.held_out(np.array([3.0]), np.array([3.0]), "y"),
        lambda: pictures.held_out(np.zeros(5000), np.arange(5000.0), "y"),
        lambda: pictures.coefficient_decay([0.0, 0.0], [0, 1]),
        lambda: pictures.coefficient_decay([5.0, 1e-300, 1.0], [0, 1, 3]),
        lambda: pictures.convergence([10], [[0.0, 0.0]]),
        lambda: pictures.convergence([10, 20, 1000], [[1.0], [1e-3, 2e-3], [1e-15]]),
    ],
)
def test_a_figure_survives_extreme_numbers(figure):
    """One input, sixty, zeros, huge spreads: no warning, and one svg element without an address."""
    text = pictures.svg(figure(), "figure")
    assert text.startswith("<svg")
    assert "http" not in text
    assert 'width="' not in text.split(">", 1)[0]


def test_reading_fitting_and_telling_in_one_go(tmp_path):
    """A file on the disk to a page on the disk."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 1, (2, 50))
    lines = [f"{x},{y},{x + y * x}" for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    (tmp_path / "runs.csv").write_text("a,b,out\n" + "\n".join(lines))
    model = fit_problem(problem_of(read_table(tmp_path / "runs.csv"), ["out"]), solver="omp")
    write_page(tmp_path / "page.html", analyse(model), "command")
    assert "a matters most" in (tmp_path / "page.html").read_text(encoding="utf-8")
