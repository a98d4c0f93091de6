"""The model of the package: its answers, its refusals, folders, chips, pictures, exports, and the commands."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import tifffile
from PIL import Image
from typer.testing import CliRunner

from benchmarks.swarm.refusals import blanks, photographs
from sm3.cli.app import app
from sm3.errors import InputError
from sm3.swarm import SwarmClassifier
from sm3.swarm.audit import audit
from sm3.swarm.chip import find_wells
from sm3.swarm.dataset import read_wells
from sm3.swarm.evaluate import evaluate
from sm3.swarm.export import export
from sm3.swarm.features import NAMES
from sm3.swarm.folder import COLUMNS, images_of, judge_files
from sm3.swarm.images import from_array
from sm3.swarm.learn.fit import load_classifier
from sm3.swarm.model_file import DEFAULT, FILES, open_model
from sm3.swarm.ome_tiff import write_ome_tiff
from sm3.swarm.picture import draw
from sm3.swarm.report import page, table
from sm3.swarm.simulate.folder import simulate_folder
from sm3.swarm.simulate.wells import make_well, pair_sidecars

pytestmark = pytest.mark.filterwarnings("ignore:.*Below 30")
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "sm3"
    list(simulate_folder(folder, "sm3-like", 48, 41))
    return folder


@pytest.fixture(scope="module")
def classifier():
    return SwarmClassifier()


def run(*arguments):
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_fresh_wells_are_judged_rightly(classifier, wells):
    """48 wells that trained nothing: at most one wrong or refused; probabilities are calibrated numbers."""
    listed = read_wells(wells)
    labels = classifier.predict([well.path for well in listed])
    assert sum(label == well.label for label, well in zip(labels, listed, strict=True)) >= 47
    both = classifier.predict_proba([well.path for well in listed[:4]])
    assert both.sum(axis=1) == pytest.approx(np.ones(4))
    assert list(classifier.classes_) == ["swimming", "swarming"]


def test_turned_images_give_the_same_answer(classifier, wells):
    """Eight copies are averaged: a turned or mirrored image moves the probability by less than 0.02."""
    for well in read_wells(wells)[:4]:
        image = classifier.assess(well.path).image
        told = [
            classifier.assess(from_array(turned, um_per_px=image.um_per_px)).judgement.probability
            for turned in (
                image.pixels,
                np.rot90(image.pixels).copy(),
                image.pixels[:, ::-1].copy(),
                image.pixels.T.copy(),
            )
        ]
        assert np.ptp(told) < 0.02


def test_the_package_holds_the_weights_it_judges_with(classifier, wells):
    """PyTorch from the shipped safetensors, ONNX Runtime from the shipped ONNX: within 1e-3 on twenty wells."""
    torch = pytest.importorskip("torch")
    model = load_classifier(open_model())
    for well in read_wells(wells)[:20]:
        told = classifier.assess(well.path)
        with torch.no_grad():
            mine = model(
                torch.from_numpy(told.image.pixels)[None, None],
                torch.tensor(told.circle),
                torch.tensor([told.um_per_px]),
            )
        assert np.abs(mine.logits.numpy() - told.logits).max() < 1e-3
    assert sum((DEFAULT / name).stat().st_size for name in FILES) < 1_000_000
    assert open_model().card["parameters"] <= 250_000


def test_photographs_blanks_and_saturated_frames_are_refused(classifier):
    """At least 98 % of scikit-image's and scikit-learn's own pictures, in colour and in grey, and every blank."""
    assert len(list(photographs())) >= 30
    refused = [_refused(classifier, pixels) for _, pixels in photographs()]
    assert np.mean(refused) >= 0.98
    assert all(_refused(classifier, pixels) for _, pixels in blanks())


def _refused(classifier, pixels):
    try:
        return classifier.assess(pixels).judgement.decision == "cannot tell"
    except InputError:
        return True


def test_the_pixel_size_may_be_missing(classifier, wells):
    """Then the published diameter gives it, and that is said."""
    pixels = tifffile.imread(read_wells(wells)[0].path)
    told = classifier.assess(pixels)
    assert told.scale_known is False
    assert told.diameter_um == pytest.approx(74.0, rel=1e-5)


def test_evidence_lies_in_the_well_and_follows_the_weights(classifier, wells):
    """The map's mean is the mean logit; at least nine tenths of its spread lie inside the well."""
    told = classifier.assess(read_wells(wells)[0].path)
    assert told.evidence.mean() == pytest.approx(told.logits.mean(), abs=1e-4)
    place = (np.arange(16) + 0.5 - 8) * 83.2 / 16
    inside = np.hypot(place[:, None], place[None]) < told.diameter_um / 2 + 5.2
    apart = np.abs(told.evidence - np.median(told.evidence[~inside]))
    assert apart[inside].sum() > 0.9 * apart.sum()


def test_pictures_show_the_evidence(classifier, wells, tmp_path):
    """640 pixels wide, in colour, with a caption; refused wells are drawn, too."""
    for source in (read_wells(wells)[0].path, np.full((90, 60), 5.0)):
        picture = draw(classifier.assess(source), tmp_path / "p.png")
        assert max(picture.size) == 640
        colours = np.asarray(picture).astype(int)
        assert (colours.max(axis=2) - colours.min(axis=2)).max() > 100
    assert (tmp_path / "p.png").stat().st_size > 1000


def chip_of(tmp_path, rows=2, columns=3):
    """Six wells side by side in one picture, numbered by rows."""
    tiles, labels = [], []
    for number in range(rows * columns):
        label = ("swarming", "swimming")[number % 2]
        sidecar = {
            **pair_sidecars("sm3-like", 51, 0)[label],
            "um_per_px": 0.4, "field_um": 100.0, "diameter_um": 74.0, "offset_um": [0.0, 0.0], "neighbours": [],
            "dust": [], "shading": [0.0, 0.0],
        }  # fmt: skip
        tiles.append(make_well(sidecar).pixels)
        labels.append(label)
    picture = np.vstack([np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)])
    write_ome_tiff(tmp_path / "chip.tif", picture, 0.4)
    return tmp_path / "chip.tif", labels


def test_a_chip_is_found_numbered_and_mapped(tmp_path):
    """Every well, in rows and columns, judged like a well alone; a map and a table are written."""
    path, labels = chip_of(tmp_path)
    output = run("swarm", "predict", path, "--chip", "--picture", tmp_path / "map.png", "--output", tmp_path / "w.csv")
    assert output.exit_code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "w.csv").read_text())))
    assert [(row["row"], row["column"]) for row in rows] == [(str(r), str(c)) for r in (1, 2) for c in (1, 2, 3)]
    assert [row["decision"] for row in rows] == labels
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.size == (750, 500)


def test_chips_without_scale_or_wells_are_errors():
    """That say what to do."""
    noise = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    with pytest.raises(InputError, match="--um-per-px"):
        find_wells(from_array(noise))
    with pytest.raises(InputError, match="no wells"):
        find_wells(from_array(noise[:100, :100], um_per_px=0.4))


def test_a_folder_with_broken_files_is_a_whole_table(wells, tmp_path):
    """One row a file, in order; the broken ones say why; exit status 0."""
    for number, well in enumerate(read_wells(wells)[:3]):
        (tmp_path / f"{number}.tif").write_bytes(well.path.read_bytes())
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    done = run("swarm", "predict", tmp_path)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.exit_code == 0
    assert tuple(rows[0]) == COLUMNS
    assert [row["decision"] == "unreadable" for row in rows] == [False, False, False, True, True]
    assert all(row["reason"] for row in rows[3:])
    with pytest.raises(InputError, match="No images"):
        images_of([tmp_path / "nowhere" / ".."] if False else [_empty(tmp_path)])


def _empty(tmp_path):
    (tmp_path / "none").mkdir()
    return tmp_path / "none"


def test_one_image_prints_a_judgement(wells, tmp_path):
    """For people and for machines; an unreadable one ends with status 1."""
    well = read_wells(wells)[0]
    done = run("swarm", "predict", well.path, "--picture", tmp_path / "e.png")
    assert well.label in done.stdout
    assert "p(swarming)" in done.stdout
    told = json.loads(run("swarm", "predict", well.path, "--json").stdout)[0]
    assert told["decision"] == well.label
    assert told["detail"]["measures"]["rim"] > 0.8
    (tmp_path / "no.tif").write_bytes(b"")
    assert run("swarm", "predict", tmp_path / "no.tif").exit_code == 1


def test_every_row_of_a_long_run_is_there(wells, classifier):
    """`judge_files` yields as it goes."""
    files = [well.path for well in read_wells(wells)[:3]]
    assert [row["path"] for row, _ in judge_files(files, classifier)] == [str(file) for file in files]


def test_evaluation_counts_and_reports(wells, tmp_path):
    """Counts add up, intervals hold the share, floor and page are made; JSON is JSON."""
    listed = read_wells(wells)
    results = evaluate(DEFAULT, {"mine": listed}, floor_wells=listed, store=tmp_path)
    found = results["mine"]
    assert found["sensitivity"]["of"] == found["specificity"]["of"] == 24
    assert found["sensitivity"]["low"] <= found["sensitivity"]["share"] <= found["sensitivity"]["high"]
    assert found["auc"] > 0.99
    assert found["floor"]["auc"] > 0.9
    assert "24" in table(results)
    html = page(results, open_model())
    assert "All wells are simulated" in html
    assert html.count("<svg") == 1
    assert "http://" not in html.replace("http://www.w3.org", "")
    done = run("swarm", "evaluate", "--data", wells, "--json", "--report", tmp_path / "page.html")
    assert json.loads(done.stdout)["sets"]["sm3"]["sensitivity"]["of"] == 24
    assert (tmp_path / "page.html").stat().st_size > 5000


def test_the_audit_names_what_must_tell_nothing(wells, tmp_path):
    """On 48 wells intervals are wide; brightness that tells the class is found."""
    listed = read_wells(wells)
    rows = {row["check"]: row for row in audit(listed, tmp_path, model=DEFAULT)}
    assert set(NAMES) < set(rows)
    assert rows["mean intensity"]["holds"]
    assert rows["labels shuffled, trained"]["holds"]
    assert rows["model, as it is"]["auc"] > 0.95
    assert rows["model, well blanked"]["holds"]
    assert rows["model, one sharp frame"]["auc"] < rows["model, as it is"]["auc"]
    leaky = []
    for number, well in enumerate(listed):
        pixels = tifffile.imread(well.path).astype(float)
        rows_, columns = np.indices(pixels.shape)
        middle = (np.array(pixels.shape) - 1) / 2
        near = np.hypot(rows_ - middle[0], columns - middle[1]) < 60
        changed = (pixels * np.where(near & (well.positive == 1), 1.1, 1.0)).clip(0, 65535).astype(np.uint16)
        path = tmp_path / f"chip{number // 8}_{number}.tif"
        write_ome_tiff(path, changed, well.um_per_px)
        leaky.append(type(well)(path, well.label, well.well, well.chip, um_per_px=well.um_per_px))
    found = {row["check"]: row for row in audit(leaky, tmp_path)}
    assert not found["nuisances jointly, trained"]["auc"] < 0.6


@pytest.mark.parametrize("kind", ["onnx", "page"])
def test_exports(kind, tmp_path):
    """Complete folders; a folder that is not empty is refused."""
    files = export(kind, tmp_path / kind)
    assert {"classifier.onnx", "finder.onnx", "card.json"} <= {file.name for file in files}
    with pytest.raises(InputError, match="not empty"):
        export(kind, tmp_path / kind)
    with pytest.raises(InputError, match="Unknown kind"):
        export("docx", tmp_path / "docx")


@pytest.mark.filterwarnings("ignore")
def test_the_bioimageio_package_validates_and_its_test_passes(tmp_path):
    """By bioimage.io's own library: the description, and the sample well through ONNX Runtime."""
    core = pytest.importorskip("bioimageio.core")
    export("bioimageio", tmp_path / "zoo")
    summary = core.test_model(tmp_path / "zoo" / "rdf.yaml")
    assert summary.status in ("passed", "valid-format"), summary.format()


def test_commands_say_what_is_wrong(tmp_path):
    """A folder without wells, a set that does not exist, a model that is none."""
    for arguments, message in (
        (["train", "--data", tmp_path, "--out", tmp_path / "m"], "no labelled wells"),
        (["simulate", "--out", tmp_path / "s", "--set", "mars"], "mars"),
        (["predict", PAGE_SAMPLE, "--model", tmp_path], "holds no model"),
    ):
        with pytest.raises(InputError if "mars" not in message else ValueError, match=message):
            run("swarm", *arguments)


PAGE_SAMPLE = DEFAULT.parent / "page" / "samples" / "swarming-1.tif"


def test_simulate_train_predict_in_three_commands(tmp_path):
    """What a newcomer types; the model is a model."""
    assert (
        run("swarm", "simulate", "--n", 96, "--set", "sm3-like", "--seed", 61, "--out", tmp_path / "w").exit_code == 0
    )
    trained = run(
        "swarm", "train", "--data", tmp_path / "w", "--out", tmp_path / "m", "--epochs", 1, "--members", 1, "--json"
    )
    assert json.loads(trained.stdout)["swarming"] > 0
    assert run("swarm", "predict", PAGE_SAMPLE, "--model", tmp_path / "m").exit_code == 0


def test_prediction_needs_no_pytorch():
    """The whole command, with torch and scipy made impossible to import."""
    code = (
        "import sys\n"
        "for name in ('torch', 'sklearn', 'scipy', 'matplotlib', 'numba'): sys.modules[name] = None\n"
        "from sm3.cli import main\n"
        f"sys.argv = ['sm3', 'swarm', 'predict', {str(PAGE_SAMPLE)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "swarming" in done.stdout


def test_the_photographs_are_the_libraries_own():
    """No file of ours pretends to be one."""
    names = [name for name, _ in photographs()]
    assert any("retina" in name for name in names)
    assert any("china" in name for name in names)
    assert skimage.data.camera().shape == (512, 512)
    assert sklearn.datasets.load_sample_image("china.jpg").ndim == 3
