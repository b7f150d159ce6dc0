"""How a model's weights lie in memory so that generating reads them fastest.

Enter: the parameters of a model, one by one, as a file or params.py gives them. Leave: the same values, elsewhere.
Next: quantized/vectors.py.
"""

from ..memory import in_large_pages

MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # [n_in, n_out]


def keep_one(name, array, config, give_back):
    """One parameter of a model as generating reads it fastest: in large pages, which a file's pages are not.

    The matrix of a linear layer looks as before, but lies by output: the weights that make one number side by side, as
    in wte. Then each sum is read from end to end and stays in a register.
    """
    by_output = name.endswith(MATRICES)
    kept = in_large_pages(array.T.shape if by_output else array.shape, array.dtype)
    kept[...] = array.T if by_output else array
    give_back()
    return kept.T if by_output else kept
