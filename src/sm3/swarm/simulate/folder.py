"""Thousands of wells as files: in parallel, resumable, the same bytes from the same seed.

DIR/set.json                     what was asked for
DIR/wells/1f0c....ome.tif        16-bit, pixel size inside; the name tells nothing about the class
DIR/wells/1f0c....json           the sidecar that makes this well again
DIR/wells.csv                    path, label, well, chip, date, species, vortex order
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sm3.errors import InputError, SettingError, explain
from sm3.run_record import cores
from sm3.swarm.ome_tiff import write_ome_tiff
from sm3.swarm.simulate.wells import FORMAT, Label, describe, make_well, names_of_sets, pair_sidecars

COLUMNS = ("path", "label", "well", "chip", "date", "species", "vortex_order", "um_per_px")
SIMULATED = "simulated"  # stands where a laboratory writes a date


def simulate_folder(
    out: Path, set_name: str, number: int, seed: int = 0, *, workers: int | None = None
) -> Iterator[int]:
    """Write `number` wells (an even number: half of each class) of a set; yields how many are on the disk by now.

    A folder begun with the same settings is continued; `wells.csv` is written last, so a folder that has one is whole.
    Raises `SettingError` for an unknown set or an odd number, `InputError` if the folder holds something else.
    """
    if number < 2 or number % 2 or set_name not in names_of_sets():
        raise SettingError(
            explain(
                "The wells cannot be simulated.",
                got=f"n={number}, set={set_name!r}",
                accepted=f"an even number, and one of {', '.join(names_of_sets())}",
                do="for example: sm3 swarm simulate --n 4000 --set sm3-like --out DIR",
            )
        )
    _claim(out, {"format": FORMAT, "set": set_name, "n": number, "seed": seed})
    wells = out / "wells"
    wells.mkdir(exist_ok=True)
    pairs = range(number // 2)
    missing = [
        pair
        for pair in pairs
        if not all(_sidecar_path(wells, set_name, seed, pair, label).exists() for label in _LABELS)
    ]
    done = number - 2 * len(missing)
    yield done
    if missing:
        count = min(workers or cores(), len(missing))
        # spawn: a forked child inherits the locks of threads that it does not have
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_write_pair, [(wells, set_name, seed, pair) for pair in missing], chunksize=4):
                done += 2
                yield done
    _write_table(out, wells, [(pair, label) for pair in pairs for label in _LABELS], set_name, seed)


_LABELS: tuple[Label, Label] = ("swarming", "swimming")


def _claim(out: Path, request: dict[str, Any]) -> None:
    """Write down what the folder holds, or refuse one that holds something else."""
    note = out / "set.json"
    if note.exists():
        try:
            held = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            held = "an unreadable set.json"
        if held != request:
            raise InputError(
                explain(
                    "The folder holds another set.",
                    got=held,
                    accepted=str(request),
                    do="give another --out, or delete this folder",
                )
            )
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(
            explain(
                "The folder is not empty.",
                got=str(out),
                accepted="a new folder, or one begun by this command",
                do="give another --out",
            )
        )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(request) + "\n", encoding="utf-8")


def well_name(set_name: str, seed: int, pair: int, label: str) -> str:
    """Twelve hexadecimal digits: sorting by name mixes the classes."""
    return hashlib.sha256(f"{set_name}/{seed}/{pair}/{label}".encode()).hexdigest()[:12]


def _sidecar_path(wells: Path, set_name: str, seed: int, pair: int, label: str) -> Path:
    return wells / f"{well_name(set_name, seed, pair, label)}.json"


def _write_pair(task: tuple[Path, str, int, int]) -> None:
    wells, set_name, seed, pair = task
    for label, sidecar in pair_sidecars(set_name, seed, pair).items():
        path = _sidecar_path(wells, set_name, seed, pair, label)
        if path.exists():
            continue
        well = make_well(sidecar)
        write_ome_tiff(path.with_suffix(".ome.tif"), well.pixels, sidecar["um_per_px"])
        unfinished = path.with_suffix(".json.part")  # the sidecar comes last: where it is, the image is whole
        unfinished.write_text(json.dumps({**describe(sidecar), "vortex_order": well.vortex_order}), encoding="utf-8")
        os.replace(unfinished, path)


def _write_table(out: Path, wells: Path, all_wells: list[tuple[int, Label]], set_name: str, seed: int) -> None:
    rows = []
    for pair, label in all_wells:
        path = _sidecar_path(wells, set_name, seed, pair, label)
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        image = path.with_suffix(".ome.tif").relative_to(out).as_posix()
        # one "well" per pair: both of a pair stay in one split
        rows.append(
            (image, label, f"{set_name}-{seed}-{pair}", f"{set_name}-{seed}-{sidecar['chip']}", SIMULATED, set_name,
             round(sidecar["vortex_order"], 4), sidecar["um_per_px"])
        )  # fmt: skip
    rows.sort()
    unfinished = out / "wells.csv.part"
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    os.replace(unfinished, out / "wells.csv")
