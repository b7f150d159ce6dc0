"""Make plain.gguf, mixed.gguf and gguf.npz with gguf and transformers: `python -m tests.goldens.make_gguf`.

Enter: seeded weights and a small vocabulary. Leave: two GGUF files of architecture gpt2, with weights of 16 and 32 bits
and of mixed small kinds, under the names that the library gguf gives them; and for each what the library makes of it:
sha256 of every tensor in float32, as transformers lays it out, and float64 logits of transformers' GPT2LMHeadModel from
those tensors. Nothing of nanogpt_np is used here.
"""

import argparse
import hashlib
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent
N_VOCAB, N_CTX, N_EMBD, N_LAYER, N_HEAD, N_INNER, EPS = 263, 16, 32, 1, 4, 64, 1e-3
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # Conv1D: [n_in, n_out]
KINDS = {  # of each file, by a part of transformers' name; everything else is F32
    "plain": {"wte": "F16", "attn.c_proj.weight": "F16", "c_fc.weight": "BF16"},
    "mixed": {"wte": "Q8_0", "c_attn.weight": "Q4_0", "attn.c_proj.weight": "Q8_0", "c_fc.weight": "Q5_1",
              "mlp.c_proj.weight": "F16", "lm_head": "Q4_0"},
}  # fmt: skip


def make(tied):
    """transformers' model with seeded weights, none of them zero."""
    shape = {"vocab_size": N_VOCAB, "n_positions": N_CTX, "n_embd": N_EMBD, "n_layer": N_LAYER, "n_head": N_HEAD}
    config = GPT2Config(**shape, n_inner=N_INNER, layer_norm_epsilon=EPS, tie_word_embeddings=tied)
    model = GPT2LMHeadModel(config).double().eval()
    rng = np.random.Generator(np.random.PCG64(263))
    for name, tensor in model.named_parameters():
        drawn = 0.3 * rng.standard_normal(tensor.shape) + (".ln_" in name and name.endswith("weight"))
        tensor.data = torch.from_numpy(drawn.astype(np.float32)).double()
    return model


def vocabulary():
    """256 bytes as GPT-2 spells them, a few merges, <|endoftext|>; the last row has no token. -> tokens, merges"""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = ["t h", "th e", "\u0120 the", "a t", "c at"]
    return [*letters, *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"], merges


def write(path, model, kinds):
    """-> transformers' name -> float32, as the library reads what it wrote."""
    writer = gguf.GGUFWriter(path, "gpt2")
    tokens, merges = vocabulary()
    writer.add_name("a golden")
    writer.add_context_length(N_CTX)
    writer.add_block_count(N_LAYER)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(N_INNER)
    writer.add_head_count(N_HEAD)
    writer.add_layer_norm_eps(EPS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, f"[PAD{len(tokens)}]"])
    kind = gguf.TokenType
    writer.add_token_types([*[kind.NORMAL] * (len(tokens) - 1), kind.CONTROL, kind.UNUSED])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(len(tokens) - 1)
    names, found = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, N_LAYER), {}
    for name, tensor in model.named_parameters():
        array = tensor.detach().float().numpy()
        is_turned = name.endswith(TURNED)
        rows = np.ascontiguousarray(array.T) if is_turned else array
        of_kind = gguf.GGMLQuantizationType[next((k for part, k in kinds.items() if part in name), "F32")]
        stored = gguf.quants.quantize(rows, of_kind)
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), stored, raw_dtype=of_kind)
        values = gguf.quants.dequantize(stored, of_kind).reshape(rows.shape)
        found[name] = values.T if is_turned else values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def golden(path, tied, kinds):
    model = make(tied)
    found = write(path, model, kinds)
    for name, tensor in model.named_parameters():
        tensor.data = torch.from_numpy(found[name].astype(np.float64))
    ids = np.random.Generator(np.random.PCG64(8)).integers(0, N_VOCAB, (2, 9))
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), use_cache=False).logits.numpy()
    digests = [hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest() for array in found.values()]
    names = [name.removeprefix("transformer.") for name in found]
    return {"names": np.array(names), "digests": np.array(digests), "ids": ids, "logits": logits.astype(np.float32)}


def main():
    parser = argparse.ArgumentParser(description="Make plain.gguf, mixed.gguf and gguf.npz.")
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go (default: beside this script)")
    out = parser.parse_args().out
    libraries = ("gguf", "torch", "transformers", "numpy")
    file = {"made_with": np.array([f"{library} {version(library)}" for library in libraries])}
    for name, kinds in KINDS.items():
        found = golden(out / f"{name}.gguf", "lm_head" not in kinds, kinds)
        file |= {f"{name}/{key}": array for key, array in found.items()}
        print(f"{name}.gguf: {(out / f'{name}.gguf').stat().st_size:,} bytes")
    np.savez_compressed(out / "gguf.npz", **file)
    print(f"gguf.npz: {(out / 'gguf.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
