"""Which parts of a model learn, and how fast each: frozen blocks, and rates that fall from the head down.

Enter: the params, and two numbers. Leave: {name: factor of the learning rate} of what learns, which optim.AdamW takes,
and how many stages no gradient need go through, which backward.trunk_backward takes. A model's stages from the bottom:
the embeddings, each block, and what stands above them (ln_f, and a head). Next: training/stopping.py.
"""

from .. import params as P
from ..errors import InputError, is_number, is_whole, shown


def stage(name, n_layer):
    """The stage that a parameter belongs to: stage("wte.weight", 6) -> 0; stage("h.2.ln_1.bias", 6) -> 3

    What stands above the blocks is stage n_layer + 1: stage("ln_f.bias", 6) -> 7
    """
    if name.startswith(("wte.", "wpe.")):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("h.") else n_layer + 1


def rates(params, n_layer, freeze=None, layer_decay=1.0):
    """{name: factor of the learning rate} of every parameter that learns.

    `freeze`: so many of the lowest blocks stay as they are, and the embeddings below them (0: these alone; None:
    everything learns). `layer_decay`: each stage learns at this times the rate of the one above it (Howard & Ruder
    2018, section 3.2, with another factor for each layer; Clark et al. 2020, appendix A).
    InputError for numbers that make no sense.
    """
    check(n_layer, freeze, layer_decay)
    lowest = 0 if freeze is None else freeze + 1
    stages = {name: stage(name, n_layer) for name, _ in P.walk(params)}
    return {name: layer_decay ** (n_layer + 1 - i) for name, i in stages.items() if i >= lowest}


def check(n_layer, freeze, layer_decay):
    """InputError for a number of frozen blocks that the model does not have, and for a factor that is none."""
    if freeze is not None and not (is_whole(freeze) and 0 <= freeze <= n_layer):
        expected = f"a whole number from 0 to {n_layer}, the model's blocks"
        raise InputError(f"freeze: expected {expected}, got {shown(freeze)}")
    if not (is_number(layer_decay) and 0.0 < layer_decay <= 1.0):
        raise InputError(f"layer_decay: expected a factor above 0, at most 1, got {shown(layer_decay)}")


def n_idle(rates, n_layer):
    """How many stages lie below the lowest one that learns: no gradient need go through these."""
    return min((stage(name, n_layer) for name in rates), default=n_layer + 1)


def learned(grads, rates):
    """The gradients of what learns, as a flat dict: what is to be clipped, and all that an optimizer takes."""
    return {name: grad for name, grad in P.walk(grads) if name in rates}
