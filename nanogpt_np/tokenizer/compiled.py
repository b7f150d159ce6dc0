"""Tokenizer.encode for long texts, in Numba: the same ids, about ten times as fast.

Enter: a text, cut at its special tokens. Leave: ids, int32. On the way: the text's UTF-8 bytes are split into chunks as
SPLIT_PATTERN splits them; a chunk seen before has its ids in a table, any other is merged, lowest rank first. Inside,
tokens go by numbers of their own: byte b is number b, what the n-th merge makes is 256 + n, so the lowest number
merges first. The first call compiles (two seconds); the result is kept on disk. Next: explore/connections.py.
"""

import functools
import threading
from itertools import chain

import numpy as np
import regex
from numba import from_dtype, int32, int64, types, uint8, uint64, void

from ..kernels.compile import inner, kernel, read
from .training import N_BYTES

OTHER, LETTER, NUMBER, SPACE = range(4)  # what SPLIT_PATTERN tells apart
BLANK, APOSTROPHE = b" '"
D, E, L, M, R, S, T, V = b"delmrstv"

# A slot of the table of chunks, 64 bytes: 24 bytes of text, their number, 7 ids, their number
KEY_BYTES, SLOT_WORDS = 24, 8
LENGTH, FIRST_ID, N_IDS = 3, 8, 15  # places in a slot: the length counted in 64 bits, the others in 32
MAX_IDS = N_IDS - FIRST_ID
N_SLOTS = 1 << 16  # a power of two; 4 MiB
N_TRIED = 4  # slots where a chunk may stand; where others have taken them all, it takes the place of one
EIGHT_BYTES = np.dtype([("word", np.uint64)])  # a record, as Numba reads those wherever they begin
WORDS = types.Array(from_dtype(EIGHT_BYTES), 1, "A", readonly=True, aligned=False)
FIRST_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # masks

NO_MERGE = 1 << 31  # above every number
POSITION = (1 << 32) - 1  # the bits of a heap's entry that say where
# any odd constants with bits all over; these are the ones of xxHash
SPREAD, SPREAD_2, SPREAD_3 = (np.uint64(odd) for odd in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
HALF = np.uint64(32)


class CompiledEncoder:
    """Encodes with one vocabulary. Several threads may share it; they take turns.

    `merges`: {(left id, right id): (rank, new id)} in the order of ranks; `byte_ids`: the id of each byte;
    `special_tokens`: {text: id}; `n_slots`: chunks to remember, a power of two.
    """

    def __init__(self, merges, byte_ids, special_tokens, n_slots=N_SLOTS):
        self._arguments = merges, byte_ids, special_tokens, n_slots
        self._special_tokens = special_tokens
        self._ids = np.array([*byte_ids, *(new_id for _, new_id in merges.values())], np.int32)  # by number
        self._pairs = _table_of_pairs(merges, self._ids)
        self._slots = np.zeros((n_slots, SLOT_WORDS), np.uint64)
        self._turn = threading.Lock()

    def __reduce__(self):
        return CompiledEncoder, self._arguments  # a lock cannot be pickled, and the tables are made anew quickly

    def encode(self, parts):
        """Strings, those at odd places special tokens -> ids, int32 [n_ids]."""
        found = [
            np.array([self._special_tokens[part]], np.int32) if i % 2 else self._encode_ordinary(part)
            for i, part in enumerate(parts)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _encode_ordinary(self, text):
        data = np.frombuffer(text.encode() + bytes(KEY_BYTES), np.uint8)  # zeros behind the end, where keys may reach
        end = len(data) - KEY_BYTES
        words = np.ndarray(end + 16, EIGHT_BYTES, data, strides=(1,))  # words[i]: the 8 bytes from i on
        classes = character_classes(0x110000 if data.max() >= 0xF0 else 0x10000)
        out = np.empty(end, np.int32)  # no more ids than bytes
        with self._turn, np.errstate(over="ignore"):  # hashes overflow on purpose
            tables = self._pairs, self._ids, self._slots, self._slots.view(np.int32)
            n_ids = _encode_kernel(data, words, end, classes, *tables, out)
        return out[:n_ids].copy()


@functools.cache
def character_classes(n_points):
    """The class of each code point below `n_points`, uint8: what `regex` takes it for, so that both agree."""
    text = np.arange(n_points, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    classes = np.full(n_points, OTHER, np.uint8)
    for found, pattern in ((LETTER, r"\p{L}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+")):
        for match in regex.finditer(pattern, text):
            classes[match.start() : match.end()] = found
    return classes


def _table_of_pairs(merges, ids):
    """The numbers of each merge's parts and of what it makes, in an open hash table, int64 [n_slots, 2]."""
    number_of = np.empty(ids.max() + 1, np.int64)
    number_of[ids] = np.arange(len(ids))
    pairs = number_of[np.fromiter(chain.from_iterable(merges), np.int64, 2 * len(merges))].reshape(-1, 2)
    table = np.full((1 << (2 * len(merges) + 1).bit_length(), 2), (-1, NO_MERGE), np.int64)  # half empty at least
    with np.errstate(over="ignore"):
        _fill_kernel(pairs[:, 0] << 32 | pairs[:, 1], table)
    return table


@kernel(void(read(int64[::1]), int64[:, ::1]), parallel=False, early=False)
def _fill_kernel(keys, table):
    for i in range(len(keys)):
        slot = _home(np.uint64(keys[i]), len(table))
        while table[slot, 0] >= 0:
            slot = (slot + 1) & (len(table) - 1)
        table[slot, 0], table[slot, 1] = keys[i], N_BYTES + i


@inner
def _home(key, n_slots):
    """Where in a table to look first."""
    key *= SPREAD
    key = (key ^ (key >> HALF)) * SPREAD_2
    return np.int64(key >> HALF) & (n_slots - 1)


TABLES = int64[:, ::1], int32[::1], uint64[:, ::1], int32[:, ::1]


@kernel(int64(read(uint8[::1]), WORDS, int64, uint8[::1], *TABLES, int32[::1]), parallel=False, early=False)
def _encode_kernel(data, words, end, classes, pairs, ids, slots, slots_32, out):
    """Fill `out` with the ids of a text -> how many."""
    start = n_out = np.int64(0)  # the type of a plain 0 is "0", for which everything below would be compiled again
    while start < end:
        stop = _chunk_end(data, start, end, classes)
        slot, known = _look_up(words, start, stop - start, slots)
        if known:
            n = slots_32[slot, N_IDS]
            for k in range(n):
                out[n_out + k] = slots_32[slot, FIRST_ID + k]
        else:
            parts = out[n_out : n_out + stop - start]
            n = _merge(data[start:stop], pairs, parts)
            for k in range(n):
                parts[k] = ids[parts[k]]
            if slot >= 0 and n <= MAX_IDS:
                _remember(words, start, stop - start, slots[slot], slots_32[slot], parts[:n])
        n_out += n
        start = stop
    return n_out


# ---------------------------------------------------------------- text -> chunks


@inner
def _chunk_end(data, start, end, classes):
    """Where the chunk ends that begins at `start`: SPLIT_PATTERN's alternatives, in its order."""
    if data[start] == APOSTROPHE:
        n = _contraction(data[start + 1], data[start + 2])
        if n:
            return start + n
    kind, i = _character(data, start, classes)
    if data[start] == BLANK and i < end:  # one space goes with what follows
        following, j = _character(data, i, classes)
        if following != SPACE:
            kind, i = following, j
    last = start
    while i < end:
        following, j = _character(data, i, classes)
        if following != kind:
            break
        last, i = i, j
    if kind == SPACE and i < end and last > start:  # \s+(?!\S): the last space is left to the next chunk
        return last
    return i


@inner
def _contraction(first, second):
    """The length of 's 't 're 've 'm 'll 'd, told by what stands behind the apostrophe; 0 where none does."""
    if first == S or first == T or first == M or first == D:
        return 2
    if (second == E and (first == R or first == V)) or (second == L and first == L):
        return 3
    return 0


@inner
def _character(data, i, classes):
    """The class of the character that begins at byte i, and where the next one begins (RFC 3629, section 3)."""
    a = np.int64(data[i])
    if a < 0x80:
        return classes[a], i + 1
    b = np.int64(data[i + 1]) & 0x3F
    if a < 0xE0:
        return classes[(a & 0x1F) << 6 | b], i + 2
    c = np.int64(data[i + 2]) & 0x3F
    if a < 0xF0:
        return classes[(a & 0x0F) << 12 | b << 6 | c], i + 3
    d = np.int64(data[i + 3]) & 0x3F
    return classes[(a & 0x07) << 18 | b << 12 | c << 6 | d], i + 4


# ---------------------------------------------------------------- chunks seen before


@inner
def _key(words, start, length):
    """A chunk of at most 24 bytes as three words, zeros behind its end."""
    a = words[start]["word"] & FIRST_BYTES[min(length, 8)]
    b = words[start + 8]["word"] & FIRST_BYTES[min(max(length - 8, 0), 8)]
    c = words[start + 16]["word"] & FIRST_BYTES[max(length - 16, 0)]
    return a, b, c


@inner
def _look_up(words, start, length, slots):
    """-> (slot, whether the chunk stands there); where it stands nowhere, the slot to put it, -1 for none."""
    if length > KEY_BYTES:
        return -1, False
    a, b, c = _key(words, start, length)
    mixed = a ^ b * SPREAD_2 ^ c * SPREAD_3
    home = _home(mixed, len(slots))
    for i in range(N_TRIED):
        slot = (home + i) & (len(slots) - 1)
        there = np.int64(slots[slot, LENGTH])
        if there == 0:
            return slot, False
        if there == length and slots[slot, 0] == a and slots[slot, 1] == b and slots[slot, 2] == c:
            return slot, True
    return (home + length % N_TRIED) & (len(slots) - 1), False


@inner
def _remember(words, start, length, slot, slot_32, ids):
    slot[0], slot[1], slot[2] = _key(words, start, length)
    slot[LENGTH] = length
    for k in range(len(ids)):
        slot_32[FIRST_ID + k] = ids[k]
    slot_32[N_IDS] = len(ids)


# ---------------------------------------------------------------- a chunk -> its tokens


@inner
def _merge(data, pairs, parts):
    """Fill `parts` with the numbers of a chunk's tokens -> how many. It is merge_long_chunk, on arrays.

    Part i and the one after it merge into made[i]; for short chunks, too, nothing simpler was faster.
    """
    n = len(data)
    before, after, made = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    heap, size = np.empty(2 * n, np.int64), np.int64(0)  # a merge takes one entry off and adds two at most
    for i in range(n):
        parts[i], before[i], after[i], made[i] = data[i], i - 1, i + 1, NO_MERGE
    for i in range(n - 1):
        size = _offer(heap, size, parts, pairs, made, i, i + 1)
    while size:
        entry, size = heap[0], _drop_first(heap, size - 1)
        i = entry & POSITION
        if made[i] != entry >> 32:
            continue  # an earlier merge took one of the two
        parts[i], made[after[i]] = made[i], NO_MERGE
        after[i] = k = after[after[i]]
        if k < n:
            before[k] = i
            size = _offer(heap, size, parts, pairs, made, i, k)
        if i > 0:
            size = _offer(heap, size, parts, pairs, made, before[i], i)
    return _gather(parts, after)


@inner
def _offer(heap, size, parts, pairs, made, i, j):
    """Note what parts i and j merge into, and put it on the heap -> its new size."""
    made[i] = _made(pairs, parts[i], parts[j])
    if made[i] == NO_MERGE:
        return size
    entry, at = made[i] << 32 | i, size  # lowest number first, then leftmost
    while at > 0 and heap[(at - 1) // 2] > entry:
        heap[at] = heap[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at] = entry
    return size + 1


@inner
def _made(pairs, left, right):
    """The number of what two tokens merge into, NO_MERGE where they do not."""
    key = np.int64(left) << 32 | np.int64(right)
    slot = _home(np.uint64(key), len(pairs))
    while pairs[slot, 0] != key and pairs[slot, 0] >= 0:
        slot = (slot + 1) & (len(pairs) - 1)
    return pairs[slot, 1]


@inner
def _drop_first(heap, size):
    """Take the first entry off a heap that will have `size` -> size."""
    entry, at, child = heap[size], 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at] = entry
    return size


@inner
def _gather(parts, after):
    """Move the parts that are left to the front -> how many."""
    n_left = i = np.int64(0)
    while i < len(parts):
        parts[n_left] = parts[i]
        n_left, i = n_left + 1, after[i]
    return n_left
