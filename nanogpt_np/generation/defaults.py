"""How a model likes to be sampled where the caller says nothing: the generation_config.json of `transformers`.

Enter: such a file's values. Leave: keyword arguments of GPT.generate by our names, and back; and what a caller said
laid over them. What the file asks for that is not done here is said, once, as a warning. Next: generation/writer.py.
"""

from typing import Any

from .. import files
from ..errors import FileError, InputError, is_number, is_whole, printable, shown
from .beams import Beams
from .request import Request
from .sampling import Sampling

NAME = "generation_config.json"
MOST = 1 << 20  # bytes; published ones have some 100
DRAWN = ("temperature", "top_k", "top_p", "min_p", "typical_p")
SEARCHED = ("num_beams", "length_penalty", "early_stopping")
OF_SAMPLING = (*DRAWN, "repetition_penalty", "no_repeat_ngram_size", "logit_bias", "banned_words", "banned_ids")
OF_REQUEST = ("max_new_tokens", "min_new_tokens", "stop", "penalty_alpha")
OURS = (*OF_SAMPLING, *OF_REQUEST, *SEARCHED)  # what a caller may leave to the model, by None
THEIRS = {"banned_words": "bad_words_ids", "banned_ids": "suppress_tokens", "logit_bias": "sequence_bias",
          "stop": "stop_strings"}  # fmt: skip; where the names differ
TOP_K = 50  # of transformers, where a file that asks for draws does not say
# what says nothing about which tokens are chosen, or is looked at elsewhere
SILENT = ("transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "do_sample",
          "return_dict_in_generate", "renormalize_logits", "remove_invalid_values", "trust_remote_code")  # fmt: skip
# what changes nothing with these values
IDLE: dict[str, tuple[Any, ...]] = {
    "num_return_sequences": (1,), "max_length": (20,), "min_length": (0,), "num_beam_groups": (1,),
    "diversity_penalty": (0.0,), "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1.0,),
    "epsilon_cutoff": (0.0,), "eta_cutoff": (0.0,), "guidance_scale": (1.0,),
}  # fmt: skip


def read(directory: Any) -> dict[str, Any]:
    """The values of a directory's file as they stand there, {} where it has none; FileError for one that is broken."""
    path = directory / NAME
    if not path.exists():
        return {}
    raw = files.read_json(path, MOST)
    if not isinstance(raw, dict):
        raise FileError(f"{files.short(path)}: expected an object of settings, got {shown(raw)}; copy the file again")
    return raw


def from_file(raw: dict[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """-> keyword arguments of GPT.generate, and what of the file is not done here, as texts.

    FileError, naming the file by `where`, for a value that makes no sense.
    """
    found = {name: raw[THEIRS.get(name, name)] for name in OURS if raw.get(THEIRS.get(name, name)) is not None}
    if "logit_bias" in found:
        found["logit_bias"] = _biases(found["logit_bias"], where)
    if not _is_above(found.get("num_beams"), 1):  # they say nothing without, as in many a file
        found = {name: value for name, value in found.items() if name not in SEARCHED[1:]}
    if raw.get("do_sample") is True:
        found.setdefault("top_k", TOP_K)
    elif raw.get("do_sample") is False:
        found = {name: value for name, value in found.items() if name not in DRAWN}
        if found.get("num_beams", 1) == 1 and "penalty_alpha" not in found:
            found["temperature"] = 0.0
    try:
        split(found)
    except InputError as error:
        raise FileError(f"{where}: {error}; mend the file, or take it away") from error
    known = {*SILENT, *(THEIRS.get(name, name) for name in OURS)}
    strange = [
        f"{printable(name)} = {printable(value)}"
        for name, value in raw.items()
        if value is not None and name not in known and name[:1] != "_" and name[:7] != "output_"
        and value not in IDLE.get(name, (False, [], ""))
    ]  # fmt: skip
    return found, strange


def _biases(given: Any, where: str) -> dict[Any, Any]:
    """sequence_bias, [[ids, number], …], as a dict."""
    try:
        return {tuple(ids): bias for ids, bias in given}
    except (TypeError, ValueError):
        raise FileError(f"{where}: sequence_bias: expected [[ids, number], …], got {shown(given)}") from None


def to_file(defaults: dict[str, Any], eos_ids: list[int]) -> dict[str, Any]:
    """What generation_config.json says of keyword arguments of GPT.generate; {} of none."""
    if not defaults:
        return {}
    raw = {THEIRS.get(name, name): value for name, value in defaults.items()}
    if defaults.get("logit_bias"):
        pairs = defaults["logit_bias"].items()
        raw["sequence_bias"] = [[[key] if is_whole(key) else list(key), float(bias)] for key, bias in pairs]
    searches = defaults.get("num_beams", 1) > 1 or "penalty_alpha" in defaults
    if defaults.get("temperature") == 0:
        raw = {name: value for name, value in raw.items() if name not in DRAWN} | {"do_sample": False}
    elif not searches:
        raw = {"do_sample": True, "top_k": 0} | raw
    if eos_ids:
        raw |= {"bos_token_id": eos_ids[0], "eos_token_id": eos_ids if len(eos_ids) > 1 else eos_ids[0]}
    return raw


def eos_ids(raw: dict[str, Any], n_vocab: int, where: str) -> list[int]:
    """The ids that end a text as the file says it, which counts before config.json; [] where it does not."""
    stored = raw.get("eos_token_id")
    ids = stored if isinstance(stored, list) else [] if stored is None else [stored]
    if not all(is_whole(i) and i >= 0 for i in ids):
        raise FileError(f"{where}: expected eos_token_id to be an id or a list of ids, got {shown(stored)}")
    return list(dict.fromkeys(i for i in ids if i < n_vocab))


def checked(defaults: Any) -> dict[str, Any]:
    """A model's defaults as a dict of their own; InputError for what is none, or holds what cannot be a default."""
    if defaults is None:
        return {}
    strange = [name for name in defaults if name not in OURS] if isinstance(defaults, dict) else [defaults]
    if strange:
        expected = f"a dict of {', '.join(OURS[:3])}, … as GPT.generate has them"
        raise InputError(f"defaults: expected {expected}, got {shown(strange[0])}")
    split(defaults)
    return dict(defaults)


def settle(said: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What a caller said, laid over a model's defaults; None of what a caller may leave out is nothing said.

    Who asks for a search gets no default of draws with it, and the other way round.
    """
    said = {name: value for name, value in said.items() if value is not None or name not in OURS}
    own = {name: value for name, value in defaults.items() if name not in said}
    searches = _is_above(said.get("num_beams"), 1) or said.get("penalty_alpha") is not None
    draws = any(name in said for name in DRAWN) or said.get("seed") is not None or _is_above(said.get("speculate"), 0)
    if searches:
        left_out = {*DRAWN, *SEARCHED, "penalty_alpha"}
    elif draws or "num_beams" in said:
        left_out = {*SEARCHED, "penalty_alpha"}
    elif _is_above(own.get("num_beams"), 1):
        left_out = {*DRAWN, "penalty_alpha"}
    else:
        left_out = {name for name in DRAWN if name != "top_k" and "penalty_alpha" in own}
    if said.get("max_new_tokens") is not None:
        left_out.add("min_new_tokens")
    return {name: value for name, value in own.items() if name not in left_out} | said


def _is_above(value: Any, least: int) -> bool:
    return is_number(value) and value > least


def split(settings: dict[str, Any]) -> tuple[Request, Beams]:
    """Keyword arguments of GPT.generate as a Request and a Beams; InputError where a value makes no sense."""
    settings = dict(settings)
    of_beams = {name: settings.pop(name) for name in (*SEARCHED, "forced_words") if name in settings}
    names = Sampling.__dataclass_fields__
    of_sampling = {name: settings.pop(name) for name in list(settings) if name in names}
    return Request(sampling=Sampling(**of_sampling), **settings), Beams(**{"num_beams": 1} | of_beams)
