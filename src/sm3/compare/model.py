"""A small byte-level GPT: pre-norm blocks, tied embedding, learned positions. It is the test track, not the product."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

BYTES = 256  # the vocabulary


@dataclass(frozen=True)
class Size:
    """layers x width; `context` is the length of a sequence in bytes."""

    layers: int
    width: int
    heads: int
    context: int

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


SIZES: Mapping[str, Size] = {
    "1x16": Size(1, 16, 2, 32),  # 0.01 M parameters: for tests
    "2x128": Size(2, 128, 4, 64),  # 0.44 M parameters: `--quick` and `--thorough`
}


class Block(nn.Module):
    """Attention, then two layers; each reads a normalised copy of the stream and adds to it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.norm_attention = nn.LayerNorm(size.width)
        self.query_key_value = nn.Linear(size.width, 3 * size.width, bias=False)
        self.attention_out = nn.Linear(size.width, size.width, bias=False)
        self.norm_mlp = nn.LayerNorm(size.width)
        self.mlp_in = nn.Linear(size.width, 4 * size.width, bias=False)
        self.mlp_out = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(
        self,
        stream: Tensor,  # (batch, context, width)
    ) -> Tensor:
        batch, context, width = stream.shape
        packed = self.query_key_value(self.norm_attention(stream)).view(
            batch, context, 3, self.heads, width // self.heads
        )
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # each (batch, heads, context, width / heads)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.attention_out(mixed.transpose(1, 2).reshape(batch, context, width))
        hidden: Tensor = self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(stream))))
        return stream + hidden


class ByteGPT(nn.Module):
    """Bytes in, logits of the next byte out."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, size.width)  # also the output layer
        self.position = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        self._initialise(size)

    def _initialise(self, size: Size) -> None:
        """Every matrix keeps the variance of what it reads; what enters the stream is divided by sqrt(2 * layers).

        GPT-2's 0.02 for all was tried: at this width the embedding then begins six times too small, and for 250 steps
        the loss mostly shows how fast an optimizer makes it grow.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)  # shape: (out, in), or (rows, width)
                if name.endswith("_out.weight"):
                    parameter.data /= (2 * size.layers) ** 0.5  # GPT-2 (Radford et al. 2019), section 2.3

    def forward(
        self,
        text: Tensor,  # (batch, context) int64, 0..255
    ) -> Tensor:
        stream: Tensor = self.embedding(text) + self.position.weight[: text.shape[1]]
        for block in self.blocks:
            stream = block(stream)
        return F.linear(self.norm(stream), self.embedding.weight)  # (batch, context, 256)


def bits_per_byte(
    model: nn.Module,
    batch: Tensor,  # (batch, context + 1) int64: each byte but the first is predicted from those before it
) -> Tensor:
    logits = model(batch[:, :-1])
    nats = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    return nats / math.log(2.0)
