"""A model file gives the same model to the last bit, or a clear error; it never runs code."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from sm3.errors import CheckpointError
from sm3.poly import Categorical, Discrete, PolynomialRegressor, total_degree
from sm3.poly.estimator.persistence import FILE_VERSION, load
from sm3.poly.inputs.distributions import STORABLE, frozen_of

INPUTS = {
    "uniform": (-1, 1),
    "auto": "auto",
    "normal": stats.norm(0, scale=2),
    "lognormal": stats.lognorm(0.5, loc=-3),
    "rosenblatt": stats.truncnorm(-3, np.inf, loc=0.1),
    "discrete": Discrete([-1.0, 0.3, 1.0], [0.1, 0.2, 0.7]),
    "poisson": stats.poisson(2.0),
    "labels": Categorical(["a", "b", None], [0.2, 0.3, 0.5]),
}


def fitted(**settings):
    rng = np.random.default_rng(0)
    x = np.empty((60, len(INPUTS)), dtype=object)
    x[:, :5] = rng.uniform(-1, 1, (60, 5))
    x[:, 5] = rng.choice([-1.0, 0.3, 1.0], 60)
    x[:, 6] = rng.poisson(2.0, 60)
    x[:, 7] = rng.choice(np.array(["a", "b", None], dtype=object), 60)
    y = np.column_stack([np.exp(x[:, 0].astype(float)) * x[:, 3].astype(float), x[:, 1].astype(float) ** 2])
    model = PolynomialRegressor(list(INPUTS.values()), solver="omp", max_basis=60, **settings)
    return model.fit(x, y, sample_weight=rng.random(60)), x


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with every kind of input, its rows, and its file."""
    model, x = fitted()
    path = tmp_path_factory.mktemp("model") / "model.npz"
    model.save(path)
    return model, x, path


def test_a_model_comes_back_bit_for_bit(saved):
    """Predictions, moments, accuracy, rows, models of the folds, notes, arguments."""
    model, x, path = saved
    again = PolynomialRegressor.load(path)
    assert again.predict(x).tolist() == model.predict(x).tolist()
    assert again.gradient(x).tobytes() == model.gradient(x).tobytes()
    for name in ("coef_", "q2_", "q2_interval_", "mean_", "variance_"):
        assert np.asarray(getattr(again, name)).tobytes() == np.asarray(getattr(model, name)).tobytes(), name
    for name in ("cond_", "kappa_", "loo_", "gap_", "n_iter_", "n_basis_", "solver_", "notes_", "path_", "candidates_"):
        assert getattr(again, name) == getattr(model, name), name
    for part in ("x", "y", "weight"):
        assert (getattr(again.rows_, part) == getattr(model.rows_, part)).all()
    for one, two in zip(model.fold_models_, again.fold_models_, strict=True):
        assert (one.rows == two.rows).all()
        assert (one.coef == two.coef).all()
        assert one.index_set.dense().tolist() == two.index_set.dense().tolist()
    assert again.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert vars(again).keys() == vars(model).keys()


def test_a_loaded_model_goes_on(saved):
    """More samples, a new fit, a second file: as if it had never been away."""
    model, x, path = saved
    again, copy = PolynomialRegressor.load(path), pickle.loads(pickle.dumps(model))
    y = np.zeros((5, 2))
    assert (again.add_samples(x[:5], y).coef_ == copy.add_samples(x[:5], y).coef_).all()
    y = np.column_stack([x[:, 0].astype(float), x[:, 4].astype(float)])
    assert (again.fit(x, y).coef_ == model.__class__(**model.get_params(deep=False)).fit(x, y).coef_).all()


def test_two_saves_are_the_same_file(saved, tmp_path):
    """No time stamp, no random name inside."""
    model, _, path = saved
    model.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    assert os.listdir(tmp_path) == ["again.npz"]


def test_single_outputs_names_and_own_index_sets_are_kept(tmp_path):
    """A data frame's names; None for the inputs; a splitter as its number of folds."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).random((40, 2)), columns=["load", "speed"])
    model = PolynomialRegressor(index_set=total_degree(2, 3), solver="ls", cv=KFold(4), lam=0.1, random_state=None)
    model.fit(frame, frame["load"] ** 2)
    model.save(tmp_path / "model.npz")
    again = PolynomialRegressor.load(tmp_path / "model.npz")
    assert again.predict(frame).tolist() == model.predict(frame).tolist()
    assert again.feature_names_in_.tolist() == ["load", "speed"]
    assert again.inputs is None
    assert again.cv == 4
    assert again.index_set.dense().tolist() == total_degree(2, 3).dense().tolist()
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[["speed", "load"]])


def test_names_of_the_outputs_are_kept_where_there_are_some(saved, tmp_path):
    """A model that was fitted from a table knows them."""
    model, _, _ = saved
    named = pickle.loads(pickle.dumps(model))
    named.target_names_ = ["stress", "cost"]
    named.save(tmp_path / "named.npz")
    assert load(tmp_path / "named.npz").target_names_ == ["stress", "cost"]


def test_whether_a_fold_counts_is_kept(saved, tmp_path):
    """Each fold its own answer."""
    model = pickle.loads(pickle.dumps(saved[0]))
    model.fold_models_ = tuple(replace(fold, counts=k % 3 > 0) for k, fold in enumerate(model.fold_models_))
    model.save(tmp_path / "model.npz")
    assert [fold.counts for fold in load(tmp_path / "model.npz").fold_models_] == [k % 3 > 0 for k in range(20)]


def test_any_changed_byte_is_noticed(saved, tmp_path):
    """At 300 places spread over the file, first and last byte included."""
    _, x, path = saved
    content = path.read_bytes()
    expected = load(path).predict(x[:5]).tolist()
    for place in np.linspace(0, len(content) - 1, 300).astype(int).tolist():
        broken = bytearray(content)
        broken[place] ^= 0x10
        target = tmp_path / "broken.npz"
        target.write_bytes(broken)
        try:
            survived = load(target)
        except CheckpointError:
            continue
        # zip has a few bytes that mean nothing (versions, attributes): then the model is the same
        assert survived.predict(x[:5]).tolist() == expected, place


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(saved, tmp_path, share):
    """Wherever it ends."""
    content = saved[2].read_bytes()
    (tmp_path / "short.npz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="not an intact model"):
        load(tmp_path / "short.npz")


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


def write(path, arrays, digest=True):
    """A file as `save` would write it, with its digest made to fit."""
    from sm3.poly.estimator.persistence import _digest

    if digest:
        arrays["digest"] = _digest({name: array for name, array in arrays.items() if name != "digest"})
    np.savez(path, **arrays)


def test_foreign_files_are_refused(saved, tmp_path):
    """No file, a folder, text, another npz, a pickle inside, packed members."""
    with pytest.raises(CheckpointError, match="no file"):
        load(tmp_path / "none.npz")
    with pytest.raises(CheckpointError):
        load(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(CheckpointError):
        load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    with pytest.raises(CheckpointError, match="without a header"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        load(tmp_path / "pickle.npz")
    np.savez_compressed(tmp_path / "packed.npz", **arrays_of(saved[2]))
    with pytest.raises(CheckpointError, match="packed members"):
        load(tmp_path / "packed.npz")


def test_a_header_that_claims_a_huge_array_is_refused(saved, tmp_path):
    """A few bytes cannot ask for terabytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("coef.npy", buffer.getvalue())
    with pytest.raises(CheckpointError):
        load(tmp_path / "huge.npz")


def test_a_file_of_a_newer_version_says_so(saved, tmp_path):
    """Instead of guessing."""
    arrays = arrays_of(saved[2])
    header = json.loads(arrays["header"].tobytes())
    header["version"] = FILE_VERSION + 1
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    write(tmp_path / "newer.npz", arrays)
    with pytest.raises(CheckpointError, match="newer sm3"):
        load(tmp_path / "newer.npz")


def tampered(arrays, change):
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    return arrays


TAMPERED = {
    "a distribution that is code": lambda header, arrays: header["inputs"][2].update(name="__import__"),
    "a distribution that is no distribution": lambda header, arrays: header["inputs"][2].update(name="norm_gen"),
    "an input of unknown kind": lambda header, arrays: header["inputs"][0].update(kind="python"),
    "a parameter that is text": lambda header, arrays: header["inputs"][2].update(args=["os.system"]),
    "an input missing": lambda header, arrays: header["inputs"].pop(),
    "a term of a variable that is not there": lambda header, arrays: arrays["terms.variable"].__setitem__(0, 99),
    "a degree below one": lambda header, arrays: arrays["terms.degree"].__setitem__(0, -1),
    "a degree that a basis does not have": lambda header, arrays: arrays["terms.degree"].__setitem__(slice(None), 50),
    "pointers that fall": lambda header, arrays: arrays["terms.indptr"].__setitem__(1, 10**9),
    "a coefficient too many": lambda header, arrays: arrays.update(coef=np.zeros((999, 2))),
    "a coefficient that is no number": lambda header, arrays: arrays["coef"].__setitem__(0, np.nan),
    "rows that do not fit": lambda header, arrays: arrays.update({"rows.weight": np.ones(3)}),
    "a fold of rows that are not there": lambda header, arrays: arrays["fold0.rows"].__setitem__(0, 10**6),
    "a fold that counts a little": lambda header, arrays: header["fold_models"].__setitem__(0, 0.5),
    "a fold missing": lambda header, arrays: header.update(fold_models=3),
    "an array missing": lambda header, arrays: arrays.pop("rows.x"),
    "an argument missing": lambda header, arrays: header["arguments"].pop("solver"),
    "names too many": lambda header, arrays: header.update(names=["a"] * 99),
    "another format": lambda header, arrays: header.update(format="sm3.optim"),
    "a list for a header": lambda header, arrays: header.clear(),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_content_that_does_not_fit_together_is_refused_even_with_a_valid_digest(saved, tmp_path, case):
    """The digest finds accidents; whoever writes one on purpose still cannot make a broken model."""
    write(tmp_path / "tampered.npz", tampered(arrays_of(saved[2]), TAMPERED[case]))
    with pytest.raises(CheckpointError):
        load(tmp_path / "tampered.npz")


def test_loading_runs_no_code_of_the_file(saved, tmp_path):
    """A reduce method that would create a file never runs."""

    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "attacked"),))

    arrays = arrays_of(saved[2])
    arrays["coef"] = np.array([Attack()], dtype=object)
    np.savez(tmp_path / "attack.npz", **arrays)
    with pytest.raises(CheckpointError):
        load(tmp_path / "attack.npz")
    assert not (tmp_path / "attacked").exists()


def test_the_old_file_survives_a_failed_save(saved, tmp_path, monkeypatch):
    """A full disk, then a kill between write and rename: the old model is intact and nothing is left behind."""
    model, _, path = saved
    target = tmp_path / "model.npz"
    target.write_bytes(path.read_bytes())

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    for function in ("numpy.savez", "os.replace", "os.fsync"):
        monkeypatch.setattr(function, full)
        with pytest.raises(CheckpointError, match="a file that was there before is intact"):
            model.save(target)
        monkeypatch.undo()
        assert target.read_bytes() == path.read_bytes()
        assert os.listdir(tmp_path) == ["model.npz"]


def test_a_kill_while_writing_leaves_the_old_file(saved, tmp_path):
    """In a process of its own, killed in the middle of the write."""
    _, _, path = saved
    target = tmp_path / "model.npz"
    target.write_bytes(path.read_bytes())
    code = f"""
import os, numpy
from sm3.poly.estimator.persistence import load
model = load({str(target)!r})
def killed(file, **arrays):
    file.write(b"half")
    file.flush()
    os._exit(9)
numpy.savez = killed
model.save({str(target)!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert load(target).n_basis_ == saved[0].n_basis_


def test_places_that_cannot_be_written_are_named(saved, tmp_path):
    """A folder that is not there, a folder in place of a file."""
    for place in (tmp_path / "no" / "model.npz", tmp_path):
        with pytest.raises(CheckpointError, match="could not be written"):
            saved[0].save(place)


def test_only_fitted_models_are_saved(tmp_path):
    """There is nothing to write."""
    with pytest.raises(NotFittedError):
        PolynomialRegressor().save(tmp_path / "model.npz")


def test_an_input_without_a_form_as_data_is_refused_when_saving(tmp_path):
    """A histogram, or labels that are objects: the message says what to do."""
    histogram = stats.rv_histogram(np.histogram(np.arange(10.0), bins=3))
    x = histogram.rvs(size=(30, 1), random_state=0)
    model = PolynomialRegressor(inputs=histogram.freeze() if hasattr(histogram, "freeze") else histogram, solver="ls")
    with pytest.raises(CheckpointError, match="cannot be written to a file"):
        model.fit(x, x[:, 0]).save(tmp_path / "model.npz")
    labels = [(1, 2), (3, 4)]
    x = np.empty((20, 1), dtype=object)
    x[:, 0] = [labels[i % 2] for i in range(20)]
    model = PolynomialRegressor(inputs=[Categorical(labels)], solver="ls").fit(x, np.arange(20.0) % 2)
    with pytest.raises(CheckpointError, match="cannot be written to a file"):
        model.save(tmp_path / "model.npz")


def test_every_storable_distribution_is_a_continuous_one_of_scipy():
    """The list names nothing else."""
    for name in STORABLE:
        assert isinstance(getattr(stats, name), stats.rv_continuous), name
    assert frozen_of({"name": "norm", "args": [1.0], "kwds": {"scale": 2.0}}).std() == 2.0
