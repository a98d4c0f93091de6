"""A model by name, by file or by code; and the shapes of well-known models, by formula instead of by download.

The formulas are those of the published configurations; the number of parameters each must give is the one its authors'
code gives, and is held by a test.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sm3.errors import InputError, explain
from sm3.plan.safetensors_header import from_index, from_safetensors
from sm3.plan.shapes import ParameterSpec, from_list, read_json

Named = Iterator[tuple[str, tuple[int, ...]]]


def _linear(name: str, out: int, into: int, bias: bool = True) -> Named:
    yield f"{name}.weight", (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def _norm(name: str, size: int, bias: bool = True) -> Named:
    yield f"{name}.weight", (size,)
    if bias:
        yield f"{name}.bias", (size,)


def _gpt2(layers: int, width: int, vocabulary: int = 50257, context: int = 1024) -> Named:
    """GPT-2, Radford et al. 2019; the output head is the token embedding (tied), weights lie as (into, out)."""
    yield "wte.weight", (vocabulary, width)
    yield "wpe.weight", (context, width)
    for layer in range(layers):
        for name, into, out in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            yield f"h.{layer}.{name}.weight", (into, out)
            yield f"h.{layer}.{name}.bias", (out,)
        yield from _norm(f"h.{layer}.ln_1", width)
        yield from _norm(f"h.{layer}.ln_2", width)
    yield from _norm("ln_f", width)


def _llama(layers: int, width: int, hidden: int, key_value: int, vocabulary: int) -> Named:
    """Llama, Touvron et al. 2023: no biases, gated feed-forward, its own output head (not tied)."""
    yield "embed_tokens.weight", (vocabulary, width)
    for layer in range(layers):
        for name, out, into in (
            ("self_attn.q_proj", width, width),
            ("self_attn.k_proj", key_value, width),
            ("self_attn.v_proj", key_value, width),
            ("self_attn.o_proj", width, width),
            ("mlp.gate_proj", hidden, width),
            ("mlp.up_proj", hidden, width),
            ("mlp.down_proj", width, hidden),
        ):
            yield from _linear(f"layers.{layer}.{name}", out, into, bias=False)
        yield from _norm(f"layers.{layer}.input_layernorm", width, bias=False)
        yield from _norm(f"layers.{layer}.post_attention_layernorm", width, bias=False)
    yield from _norm("norm", width, bias=False)
    yield from _linear("lm_head", vocabulary, width, bias=False)


def _bert(layers: int, width: int, vocabulary: int = 30522, context: int = 512) -> Named:
    """BERT uncased, Devlin et al. 2019: encoder and pooler, without a task's head."""
    for name, rows in (("word", vocabulary), ("position", context), ("token_type", 2)):
        yield f"embeddings.{name}_embeddings.weight", (rows, width)
    yield from _norm("embeddings.LayerNorm", width)
    for layer in range(layers):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            yield from _linear(f"encoder.layer.{layer}.{name}", width, width)
        yield from _norm(f"encoder.layer.{layer}.attention.output.LayerNorm", width)
        yield from _linear(f"encoder.layer.{layer}.intermediate.dense", 4 * width, width)
        yield from _linear(f"encoder.layer.{layer}.output.dense", width, 4 * width)
        yield from _norm(f"encoder.layer.{layer}.output.LayerNorm", width)
    yield from _linear("pooler.dense", width, width)


def _resnet50(classes: int = 1000) -> Named:
    """ResNet-50, He et al. 2016: bottlenecks 3, 4, 6, 3; the batch norms' statistics are no parameters."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _norm("bn1", 64)
    into = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        out = 4 * width
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for index, shape in enumerate(((width, into, 1, 1), (width, width, 3, 3), (out, width, 1, 1)), start=1):
                yield f"{name}.conv{index}.weight", shape
                yield from _norm(f"{name}.bn{index}", shape[0])
            if block == 0:
                yield f"{name}.downsample.0.weight", (out, into, 1, 1)
                yield from _norm(f"{name}.downsample.1", out)
            into = out
    yield from _linear("fc", classes, into)


MODELS: dict[str, Callable[[], Named]] = {
    "bert-base": lambda: _bert(12, 768),
    "bert-large": lambda: _bert(24, 1024),
    "gpt2-small": lambda: _gpt2(12, 768),
    "gpt2-medium": lambda: _gpt2(24, 1024),
    "gpt2-large": lambda: _gpt2(36, 1280),
    "gpt2-xl": lambda: _gpt2(48, 1600),
    "llama-2-7b": lambda: _llama(32, 4096, 11008, 4096, 32000),
    "llama-3.1-8b": lambda: _llama(32, 4096, 14336, 1024, 128256),
    "resnet-50": _resnet50,
}


def specs_of(model: Any) -> tuple[ParameterSpec, ...]:
    """The parameters of anything that names a model.

    A torch.nn.Module on any device, meta included; the name of a built-in model; a .json shape list or a .safetensors
    file (or the index of several); text "module:function"; a shape list in Python (`shapes.from_list`).
    """
    if callable(getattr(model, "named_parameters", None)):
        from sm3.plan.measure import parameters_of

        return parameters_of(model)
    if isinstance(model, str | os.PathLike):
        return _named(os.fspath(model))
    if isinstance(model, Mapping | Sequence):
        return from_list(model)
    raise _unknown(repr(model)[:80])


def _named(text: str) -> tuple[ParameterSpec, ...]:
    if text in MODELS:
        return tuple(ParameterSpec(name, shape) for name, shape in MODELS[text]())
    if text.endswith(".safetensors"):
        return from_safetensors(text)
    if text.endswith(".json"):
        content = read_json(text)
        if isinstance(content, dict) and isinstance(content.get("weight_map"), dict):
            return from_index(text, content)
        return from_list(content, text)
    if ":" in text:
        from sm3.plan.measure import module_from, parameters_of

        return parameters_of(module_from(text))
    raise _unknown(repr(text)) if text else _unknown("no name", "no model was named.")


def _unknown(got: str, happened: str = "the model is not known.") -> InputError:
    return InputError(
        explain(
            happened,
            got=got,
            accepted=f"a built-in model ({', '.join(MODELS)}), a .json or .safetensors file, module:function",
            do="try `sm3 plan gpt2-small`; for your own, name the function that builds it: `sm3 plan train:build`",
        )
    )
