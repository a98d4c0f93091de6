# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Numbers and sign bits at an address: descriptor fields, aligned pointers, bfloat16 as bits, packed signs.

A kernel gets one table of int64 words, `FIELDS` of them a tensor: base addresses, sizes, and float64 scalars stored as
their bits. Addresses become pointers here, in the kernel, so that one launch serves any number of tensors.

Signs: bit i of byte b is element 8 b + i, in the layout of `rules.shapes.packed_sign_shape`. The matrix of SMMF is not
the matrix of that layout, so tiles may share bytes. Aligned tiles (columns a multiple of 16, no padding of bits) are
whole bytes and nobody shares: plain stores. Any other tile flips its own bits by atomic xor on 32-bit words: xor
commutes, every bit has one owner, it flips only after its old value was used, and a reader looks at its own bits only,
so any order of tiles gives the same bits. Words are aligned down and up to 4 bytes: inside a device allocation always,
and what lies beside the signs is rewritten unchanged.
"""

import triton
import triton.language as tl

# Words of a tensor's descriptor: the first sixteen mean the same in every kernel, the rest is the rule's.
FIELDS: tl.constexpr = tl.constexpr(32)
PARAM: tl.constexpr = tl.constexpr(0)  # addresses
GRAD: tl.constexpr = tl.constexpr(1)
ROWS: tl.constexpr = tl.constexpr(2)  # sizes
COLUMNS: tl.constexpr = tl.constexpr(3)
NUMEL: tl.constexpr = tl.constexpr(4)
KEY_LOW: tl.constexpr = tl.constexpr(5)  # keys of the noise, 32 bits each
KEY_HIGH: tl.constexpr = tl.constexpr(6)
DECAY: tl.constexpr = tl.constexpr(7)  # float64: 1 - lr * weight_decay
LR: tl.constexpr = tl.constexpr(8)  # float64
BETA: tl.constexpr = tl.constexpr(9)  # float64: decay of the first moment or momentum
ONE_MINUS_BETA: tl.constexpr = tl.constexpr(10)
BETA2: tl.constexpr = tl.constexpr(11)  # float64: decay of the second moment or accumulators
ONE_MINUS_BETA2: tl.constexpr = tl.constexpr(12)
KEPT: tl.constexpr = tl.constexpr(13)  # cautious: address of the last step's count, and of this step's
COUNT: tl.constexpr = tl.constexpr(14)
SCALED: tl.constexpr = tl.constexpr(15)  # cautious: not the first step


@triton.jit
def load_at(t, field: tl.constexpr):
    """An int64 word of a descriptor."""
    return tl.load(t + field)


@triton.jit
def real(t, field: tl.constexpr, accumulator: tl.constexpr):
    """A float64 of a descriptor, rounded once to the accumulators' dtype, as PyTorch rounds a Python scalar."""
    return tl.load((t + field).to(tl.pointer_type(tl.float64))).to(accumulator)


@triton.jit
def pointer_of(t, field: tl.constexpr, number: tl.constexpr, aligned: tl.constexpr):
    """The pointer stored in a descriptor; a bfloat16 is handled as its 16 bits."""
    if number == tl.bfloat16:
        pointer = tl.load(t + field).to(tl.pointer_type(tl.uint16))
    else:
        pointer = tl.load(t + field).to(tl.pointer_type(number))
    if aligned:
        pointer = tl.multiple_of(pointer, 16)
    return pointer


@triton.jit
def load_numbers(
    t,
    field: tl.constexpr,
    index,
    inside,
    number: tl.constexpr,
    accumulator: tl.constexpr,
    aligned: tl.constexpr,
):
    """Elements of a tensor in the accumulators' dtype; 0 where not inside."""
    stored = tl.load(pointer_of(t, field, number, aligned) + index, mask=inside, other=0)
    if number == tl.bfloat16:
        value = (stored.to(tl.uint32) << 16).to(tl.float32, bitcast=True).to(accumulator)
    else:
        value = stored.to(accumulator)
    return value


@triton.jit
def sign_position(flat, per_row, pitch):
    """Bit number of each flat element; `pitch` bits are stored per row of dimension 0, the first `per_row` are used."""
    position = flat
    if pitch != per_row:  # a division of every element: only where rows are padded
        position = flat + (flat // per_row) * (pitch - per_row)
    return position


@triton.jit
def read_signs(address, position, inside):
    """1 where the bit is set, else 0 (int32)."""
    byte = tl.load(address.to(tl.pointer_type(tl.uint8)) + (position >> 3), mask=inside, other=0)
    return (byte.to(tl.int32) >> (position & 7).to(tl.int32)) & 1


@triton.jit
def store_sign_bytes(address, position, inside, bits, height: tl.constexpr, width: tl.constexpr):
    """Plain stores of whole bytes: the first element of every eight lanes is the first of a byte."""
    weight = tl.arange(0, 8)[None, None, :]
    packed = tl.sum(tl.reshape(bits, [height, width // 8, 8]) << weight, 2)
    byte = tl.min(tl.reshape(position, [height, width // 8, 8]), 2) >> 3
    some = tl.max(tl.reshape(inside.to(tl.int32), [height, width // 8, 8]), 2) != 0
    tl.store(address.to(tl.pointer_type(tl.uint8)) + byte, packed.to(tl.uint8), mask=some)


@triton.jit
def flip_sign_bits(address, position, flips, height: tl.constexpr, width: tl.constexpr):
    """Atomic xor of the bits that change, in the words that hold them; the bits of other tiles are left alone.

    Sixteen neighbours span at most 16 + 7 bits (rows with padding have 64 elements or more, so at most one gap of
    seven lies between them): two words.
    """
    unaligned = address & 3
    words = (address - unaligned).to(tl.pointer_type(tl.int32))
    place = tl.reshape(position + unaligned * 8, [height, width // 16, 16])
    word = place >> 5
    first = tl.min(word, 2)
    bit = tl.reshape(flips, [height, width // 16, 16]) << (place & 31).to(tl.int32)
    in_first = word == first[:, :, None]
    low = tl.sum(tl.where(in_first, bit, 0), 2)
    high = tl.sum(tl.where(in_first, 0, bit), 2)
    tl.atomic_xor(words + first, low, mask=low != 0, sem="relaxed")
    tl.atomic_xor(words + first + 1, high, mask=high != 0, sem="relaxed")
