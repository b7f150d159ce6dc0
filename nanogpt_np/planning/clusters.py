"""The smallest cluster that holds a model: to train it, and to generate with it.

Enter: a GPTConfig, a Machine, Options. Leave: a Cluster, or None where none of those that are tried holds it.
Next: planning/times.py.
"""

from dataclasses import dataclass

from .options import MOST_RANKS
from .sizes import count_sizes
from .splits import Split, divisors, rank_memory, stage_memory


@dataclass(frozen=True)
class Cluster:
    """How many devices, how the model is split among them, and the bytes of the fullest; `room`: bytes of one."""

    split: Split
    n_bytes: int
    room: int


def training_cluster(config, machine, options):
    """The fewest devices that hold training, with ZeRO-1 -> Cluster or None.

    Tried is every number of tensor ranks that divides n_head, within a node, with every number of stages that divides
    n_layer. Of equally many, the one that splits matrices least, then layers least, as each split costs messages.
    """
    room = round(machine.memory * options.usable)
    found = []
    for tensor, pipeline in _model_splits(config, machine):
        data = _data_ranks(config, tensor, pipeline, options, room)
        if data is not None and data * tensor * pipeline <= MOST_RANKS:
            found.append(Split(data, tensor, pipeline))
    if not found:
        return None
    best = min(found, key=lambda split: (split.n_ranks, split.tensor, split.pipeline))
    return Cluster(best, rank_memory(config, best, options).total, room)


def generating_cluster(config, machine, options):
    """The fewest devices that hold the weights and the KV cache of `n_batch` full contexts -> Cluster or None."""
    room = round(machine.memory * options.usable)
    found = []
    for tensor, pipeline in _model_splits(config, machine):
        n_bytes = _generating_bytes(config, tensor, pipeline, options)
        if n_bytes <= room and tensor * pipeline <= MOST_RANKS:
            found.append(Cluster(Split(1, tensor, pipeline), n_bytes, room))
    return min(found, key=lambda one: (one.split.n_ranks, one.split.tensor), default=None)


def _generating_bytes(config, tensor, pipeline, options):
    """Bytes of the fullest rank: its share of the blocks and of the cache, and of the embeddings at either end."""
    sizes, dtype = count_sizes(config), options.dtype
    parts = {part.name: part.n_bytes[dtype] for part in sizes.parts}
    matrices, norms = parts["attention"] + parts["feed-forward"], parts["layer norms"]
    cache = options.n_batch * sizes.full_cache_bytes[dtype]
    shared = -(-(matrices + cache) // (tensor * pipeline)) - (-norms // pipeline)
    words = -(-parts["token embedding"] // tensor)
    head = -(-parts.get("unembedding", parts["token embedding"]) // tensor)
    first, last = words + parts.get("position embedding", 0), head
    if pipeline == 1:
        return shared + first + (0 if config.tie_word_embeddings else last)
    return shared + max(first, last)


def _model_splits(config, machine):
    """(tensor, pipeline) of every split of the model itself that is tried."""
    for tensor in divisors(config.n_head):
        if tensor <= machine.per_node:
            for pipeline in divisors(config.n_layer):
                yield tensor, pipeline


def _data_ranks(config, tensor, pipeline, options, room):
    """The fewest data ranks under which the optimizer's part fits beside all else; None where nothing is left for it.

    The first and the last stage are asked; only the optimizer's part becomes smaller with more ranks.
    """
    most = 1
    for stage in {0, pipeline - 1}:
        alone = stage_memory(config, Split(1, tensor, pipeline), options, stage)
        left = room - (alone.total - alone.optimizer)
        if left <= 0:
            return None
        most = max(most, -(-alone.optimizer // left))
    return most
