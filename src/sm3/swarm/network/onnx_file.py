"""Both networks as ONNX files for any size of image: small, without traces of the machine that wrote them."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sm3.extras import require
from sm3.swarm.network.classifier import NAMES, Classifier
from sm3.swarm.network.finder import Finder

OPSET = 18
SMALLEST = 64  # constants of fewer numbers stay as they are


def write_onnx(classifier: Classifier, folder: Path) -> None:
    """Write finder.onnx and classifier.onnx. Numbers that half precision holds exactly are stored so and widened on
    load.
    """
    image = torch.zeros(1, 1, 300, 310)
    circle, scale = torch.tensor([150.0, 150.0, 110.0]), torch.tensor([0.33])
    _write(Finder().eval(), (image,), ["image"], ["circle", "rim"], folder / "finder.onnx")
    _write(
        classifier.eval(),
        (image, circle, scale),
        ["image", "circle", "um_per_px"],
        list(NAMES),
        folder / "classifier.onnx",
    )


def _write(module: nn.Module, inputs: tuple[Tensor, ...], entering: list[str], leaving: list[str], path: Path) -> None:
    require("onnxscript")
    onnx = require("onnx")
    height, width = torch.export.Dim("height", min=16, max=4096), torch.export.Dim("width", min=16, max=4096)
    free = ({2: height, 3: width}, *[None] * (len(inputs) - 1))
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(
        logging.ERROR
    )  # "torchvision is not installed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module, inputs, input_names=entering, output_names=leaving, dynamic_shapes=free, opset_version=OPSET,
            dynamo=True, verbose=False, optimize=True,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    _halve(model.graph, onnx)
    onnx.checker.check_model(model)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(model.SerializeToString(deterministic=True))
    os.replace(unfinished, path)


def _forget_origin(model: Any) -> None:
    """Drop stack traces and paths: two thirds of the file."""
    del model.metadata_props[:]
    model.doc_string = ""
    model.producer_version = ""
    graph = model.graph
    for part in [graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del graph.value_info[:]
    for node in graph.node:
        node.name = ""


def _halve(graph: Any, onnx: Any) -> None:
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < SMALLEST or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, name + "_half"))
        casts.append(onnx.helper.make_node("Cast", [name + "_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
