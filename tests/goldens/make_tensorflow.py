"""Make openai/ with TensorFlow itself: `python -m tests.goldens.make_tensorflow` from the project's root.

Enter: seeded weights (recipe.py). Leave: a directory as OpenAI published its models in 2019 (checkpoint, model.ckpt.*,
hparams.json, encoder.json, vocab.bpe), with what a training run leaves beside the weights (step, Adam's slots), and
logits.npz: what TensorFlow computes from those variables. Nothing of nanogpt_np is used here, nor of PyTorch.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from . import recipe

HERE = Path(__file__).parent
SIZES = recipe.Sizes(n_vocab=270, n_ctx=16, n_embd=16, n_layer=2, n_head=2)
SEED, STD = 20190805, 0.15
MERGES = ["Ġ t", "h e", "Ġ a", "Ġt he", "i n", "r e", "o n", "Ġ s", "n d", "Ġa nd", "e r", "i s", "a t"]
tf1 = tf.compat.v1


def openai_name(name):
    """The published name -> OpenAI's own: "h.0.attn.c_attn.weight" -> "model/h0/attn/c_attn/w"."""
    *path, leaf = name.split(".")
    if path in (["wte"], ["wpe"]):
        return f"model/{path[0]}"
    leaf = "b" if leaf == "bias" else "g" if path[-1].startswith("ln_") else "w"
    return "model/" + "/".join([*path, leaf]).replace("h/", "h", 1)


def make_variables(weights):
    """A variable for each weight; those of linear layers have a first axis of 1, as OpenAI's conv1d has."""
    found = {}
    for name, array in weights.items():
        is_linear = ".c_" in name and name.endswith("weight")
        found[name] = tf1.get_variable(openai_name(name), initializer=array[None] if is_linear else array)
    return found


def make_leftovers(variables):
    """What training leaves in a checkpoint."""
    tf1.get_variable("global_step", initializer=np.int64(1234))
    tf1.get_variable("beta1_power", initializer=np.float32(0.5))
    for slot in ("Adam", "Adam_1"):
        tf1.get_variable(f"model/ln_f/b/{slot}", initializer=tf.zeros_like(variables["ln_f.bias"]))


def forward(ids, v):
    """GPT-2's forward pass in TensorFlow's operations: ids [n_seq] -> logits [n_seq, n_vocab]."""
    n_seq, d_head = len(ids), SIZES.n_embd // SIZES.n_head

    def norm(x, name):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + 1e-5) * v[f"{name}.weight"] + v[f"{name}.bias"]

    def linear(x, name):
        return x @ v[f"{name}.weight"][0] + v[f"{name}.bias"]

    def heads(x):  # -> [n_head, n_seq, d_head]
        return tf.transpose(tf.reshape(x, [n_seq, SIZES.n_head, d_head]), [1, 0, 2])

    seen = tf.linalg.band_part(tf.ones([n_seq, n_seq]), -1, 0)
    x = tf.gather(v["wte.weight"], ids) + v["wpe.weight"][:n_seq]
    for i in range(SIZES.n_layer):
        q, k, value = map(heads, tf.split(linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn"), 3, axis=-1))
        scores = tf.matmul(q, k, transpose_b=True) / math.sqrt(d_head)
        mixed = tf.nn.softmax(scores * seen - 1e10 * (1 - seen)) @ value
        merged = tf.reshape(tf.transpose(mixed, [1, 0, 2]), [n_seq, SIZES.n_embd])
        x += linear(merged, f"h.{i}.attn.c_proj")
        hidden = tf.nn.gelu(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate=True)
        x += linear(hidden, f"h.{i}.mlp.c_proj")
    return tf.matmul(norm(x, "ln_f"), v["wte.weight"], transpose_b=True)


def byte_letters():
    """The letter that GPT-2's vocabulary files write for each byte, in the order of the published ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def write_vocabulary(folder):
    tokens = [*byte_letters(), *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>"]
    assert len(tokens) == len(set(tokens)) == SIZES.n_vocab
    (folder / "encoder.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description="Make openai/.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the folder goes (default: beside this script)")
    folder = parser.parse_args().out / "openai"
    folder.mkdir(exist_ok=True)
    weights, ids = recipe.weights(SIZES, SEED, STD), recipe.tokens(SIZES, SEED, (8,))
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = make_variables(weights)
        make_leftovers(variables)
        session.run(tf1.global_variables_initializer())
        logits = session.run(forward(ids, variables))
        tf1.train.Saver().save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    hparams = {"n_vocab": SIZES.n_vocab, "n_ctx": SIZES.n_ctx, "n_embd": SIZES.n_embd, "n_head": SIZES.n_head}
    (folder / "hparams.json").write_text(json.dumps({**hparams, "n_layer": SIZES.n_layer}, indent=2) + "\n")
    (folder / "checkpoint").write_text(  # as OpenAI's says it; TensorFlow writes where it stood
        'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
    )
    write_vocabulary(folder)
    made_with = np.array([f"tensorflow {tf.__version__}"])
    np.savez_compressed(folder / "logits.npz", ids=ids, logits=logits, made_with=made_with)
    for path in sorted(folder.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
