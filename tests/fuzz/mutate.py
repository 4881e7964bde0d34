"""Files that somebody damaged, by accident or on purpose: valid ones changed at random, always in the same way for a seed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

HOSTILE = "\x1b[2J\x1b]0;x\x07\u202egnorw\u2066<img src=x onerror=alert(1)>\r"
_TEXTS = (
    "",
    " ",
    "nan",
    "null",
    "-1",
    "true",
    "../../etc/passwd",
    "x" * 100_000,
    HOSTILE,
    "é日本",
    "'; DROP TABLE events; --",
    "[BOS]",
    "%s{}",
)
_NUMBERS = (
    0,
    -1,
    1,
    2**31,
    2**63 - 1,
    -(2**63),
    10**12,
    10**400,
    0.5,
    1e308,
    -1e-300,
    float("nan"),
    float("inf"),
    -float("inf"),
)


def weird(rng: Random) -> Any:
    """A value that few expect."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(_TEXTS)
    if kind == 1:
        return rng.choice(_NUMBERS)
    if kind == 2:
        return rng.choice((None, True, False))
    if kind == 3:
        return [weird(rng) for _ in range(rng.randrange(3))]
    if kind == 4:
        return {rng.choice(_TEXTS): weird(rng) for _ in range(rng.randrange(3))}
    return _deep(rng.choice((5, 60, 900)))


def _deep(levels: int) -> object:
    found: object = "deep"
    for _ in range(levels):
        found = [found]
    return found


# Any file ----------------------------------------------------------------------------------------------------------------


def in_place(path: Path, rng: Random) -> None:
    """Another thing stands where the file stood."""
    path.unlink()
    kind = rng.choice(("gone", "folder", "pipe", "zeros", "loop", "hole", "nowhere"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "nowhere":
        path.symlink_to(path.parent / "no" / "such" / "file")
    elif kind == "hole":
        with path.open("wb") as file:
            file.truncate(10**9)


def bytes_changed(path: Path, rng: Random) -> None:
    """Cut off, turned over, written over, doubled, emptied."""
    content = bytearray(path.read_bytes())
    path.unlink()
    kind = rng.choice(("cut", "flip", "flip", "zeros", "noise", "twice", "empty", "text", "wide"))
    at = rng.randrange(max(1, len(content)))
    if kind == "cut":
        content = content[:at]
    elif kind == "flip":
        for _ in range(rng.choice((1, 8, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif kind == "noise":
        content[at:at] = rng.randbytes(rng.choice((1, 100)))
    elif kind == "twice":
        content *= 2
    elif kind == "empty":
        content.clear()
    elif kind == "text":
        content = bytearray(f"{HOSTILE}\n".encode() * 20)
    else:
        content = bytearray(b"\xff\xfe" + "plan: [1]".encode("utf-16-le"))
    path.write_bytes(content)


# Parquet -----------------------------------------------------------------------------------------------------------------


def parquet(path: Path, rng: Random) -> None:
    """A column is gone, has another name, another type or values that cannot be; or there are no rows, or every row twice."""
    table = pq.read_table(path)
    path.unlink()
    place = rng.randrange(table.num_columns)
    name = table.column_names[place]
    kind = rng.choice(
        ("values", "values", "values", "type", "type", "drop", "rename", "twice", "empty", "rows", "nulls", "more")
    )
    if kind == "drop":
        table = table.remove_column(place)
    elif kind == "rename":
        table = table.rename_columns([HOSTILE if one == name else one for one in table.column_names])
    elif kind == "twice":
        table = table.append_column(name, table[name])
    elif kind == "empty":
        table = table.slice(0, 0)
    elif kind == "rows":
        table = pa.concat_tables([table, table])
    elif kind == "more":
        table = table.append_column(HOSTILE, pa.array([HOSTILE] * table.num_rows))
    elif kind == "nulls":
        table = table.set_column(place, name, pa.nulls(table.num_rows, table[name].type))
    elif kind == "type":
        table = table.set_column(place, name, _other_type(table.num_rows, rng))
    else:
        table = table.set_column(place, name, _odd_values(table[name], rng))
    pq.write_table(table, path)


def _other_type(rows: int, rng: Random) -> pa.Array:
    one = rng.choice(
        (
            pa.array([[1, 2]]), pa.array([{"a": 1}]), pa.array([b"\xff\x00"]), pa.array([True]), pa.array([HOSTILE]), pa.array([1.5]),
            pa.array([2**63 - 1]), pa.array([10**11], pa.timestamp("s", "UTC")), pa.array([None], pa.null()), pa.array([7], pa.duration("s")),
            pa.array(["12"], pa.large_string()), pa.array([float("nan")]), pa.array([2**63], pa.uint64()),
        )
    )  # fmt: skip
    return pa.concat_arrays([one] * rows) if rows else one.slice(0, 0)


def _odd_values(column: pa.ChunkedArray, rng: Random) -> pa.Array:
    """Some cells are odd, each of the column's own type."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        odd: tuple[Any, ...] = (*_TEXTS[:7], HOSTILE, "MEDS_BIRTH", "MEDS_BIRTH//" + HOSTILE, None, "x" * 10_000)
    elif pa.types.is_timestamp(kind):
        odd = (-(2**63) + 1, 2**63 - 1, -(10**17), 0, None)
    elif pa.types.is_floating(kind):
        odd = (float("nan"), float("inf"), -float("inf"), 3e38, None)
    elif pa.types.is_integer(kind):
        odd = (
            -1,
            0,
            2 ** (kind.bit_width - 1) - 1,
            -(2 ** (kind.bit_width - 1)) if not str(kind).startswith("u") else 0,
            None,
        )
    elif pa.types.is_list(kind):
        odd = ([], None, [None])
    else:
        odd = (None,)
    share = rng.choice((0.01, 0.3, 1.0))
    values = column.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(kind) else column.to_pylist()
    changed = [rng.choice(odd) if rng.random() < share else one for one in values]
    return (
        pa.array(changed, pa.int64()).cast(kind, safe=False) if pa.types.is_timestamp(kind) else pa.array(changed, kind)
    )


# JSON and YAML -----------------------------------------------------------------------------------------------------------


def tree(content: Any, rng: Random) -> Any:
    """One place of plain data is another value, gone, new, or has another name."""
    place: list[Any] = []
    node = content
    while isinstance(node, dict | list) and node and (not place or rng.random() < 0.75):
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        place.append((node, key))
        node = node[key]
    if not place:
        return weird(rng)
    holder, key = place[-1]
    kind = rng.choice(("value", "value", "value", "gone", "new", "name"))
    if kind == "gone":
        del holder[key]
    elif kind == "new" or (kind == "name" and isinstance(holder, list)):
        if isinstance(holder, dict):
            holder[rng.choice(_TEXTS)] = weird(rng)
        else:
            holder.append(weird(rng))
    elif kind == "name":
        holder[rng.choice(_TEXTS)] = holder.pop(key)
    else:
        holder[key] = weird(rng)
    return content


def json_file(path: Path, rng: Random) -> None:
    """A JSON file with one thing changed, or brackets or digits without end."""
    content = json.loads(path.read_text())
    path.unlink()
    kind = rng.random()
    if kind < 0.1:
        path.write_text(rng.choice(("[" * 100_000, '{"a":' * 50_000, "9" * 5_000, '{"a": ' + "9" * 5_000 + "}")))
    else:
        path.write_text(
            json.dumps(tree(content, rng), ensure_ascii=rng.random() < 0.5), encoding="utf-8", errors="surrogatepass"
        )


def json_lines(path: Path, rng: Random) -> None:
    """One line of a file of JSON lines changed."""
    lines = path.read_text().splitlines()
    path.unlink()
    at = rng.randrange(len(lines))
    lines[at] = (
        json.dumps(tree(json.loads(lines[at]), rng))
        if rng.random() < 0.8
        else rng.choice(("", "[" * 50_000, "{", "1", "9" * 5000))
    )
    path.write_text("\n".join(lines))


def yaml_file(path: Path, rng: Random) -> None:
    """A YAML file with one thing changed, or one that grows, never ends, or asks for objects."""
    text = path.read_text()
    path.unlink()
    kind = rng.random()
    if kind < 0.25:
        path.write_text(
            rng.choice(
                (
                    "a: &a [x,x,x]\nb: &b [*a,*a,*a]\n", "[" * 50_000, "- " * 5_000, f"{text}\nname: twice\nname: twice\n", "\t- x", "x: 0o10\n",
                    "!!python/object/apply:os.system ['touch /tmp/ehrmem-was-here']", "a: !!binary gA==", "1:2:3", f"{text}\nseed: {'9' * 5000}\n",
                    "? [a, b]\n: c", "%YAML 9.9\n---\n", "--- 1\n--- 2\n", f"{text}\x00",
                )
            )
        )  # fmt: skip
    else:
        path.write_text(yaml.safe_dump(tree(yaml.safe_load(text), rng), allow_unicode=rng.random() < 0.5))


# Weights and plain text --------------------------------------------------------------------------------------------------


def safetensors(path: Path, rng: Random) -> None:
    """The header says another thing than the weights are, or is as long as the world."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, weights = json.loads(content[8 : 8 + length]), content[8 + length :]
    path.unlink()
    kind = rng.choice(("length", "tree", "tree", "weights", "nan"))
    if kind == "length":
        path.write_bytes(rng.choice((2**63, 10**12, 0, 7, length - 1)).to_bytes(8, "little") + content[8:])
        return
    if kind == "tree":
        header = tree(header, rng)
    elif kind == "weights":
        weights = weights[: rng.randrange(len(weights))]
    else:
        weights = b"\xff" * len(weights)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + weights)


def lines(path: Path, rng: Random) -> None:
    """A line of a text file gone, doubled, or another text."""
    found = path.read_text().splitlines()
    path.unlink()
    at = rng.randrange(len(found))
    kind = rng.choice(("gone", "twice", "text", "text", "all"))
    if kind == "gone":
        del found[at]
    elif kind == "twice":
        found.insert(at, found[at])
    elif kind == "text":
        found[at] = rng.choice((*_TEXTS, "9" * 5000, ",,,,", '"', "a,b,c", "P-AAAA-AAAA", "0", "1" * 25))
    else:
        found = [HOSTILE] * len(found)
    path.write_text("\n".join(found))


def some_text(rng: Random) -> str:
    """A word of a command line; no zero byte, which no program can be given."""
    said = (
        weird(rng)
        if rng.random() < 0.8
        else rng.choice(
            ("\udcff", "/", "/dev/null", "/dev/zero", "/proc/self/mem", "http://", "https://[", "file:///etc")
        )
    )
    text = said if isinstance(said, str) else str(said)
    return text[:100_000]


OF: Mapping[str, Callable[[Path, Random], None]] = {
    "parquet": parquet, "json": json_file, "jsonl": json_lines, "yaml": yaml_file, "safetensors": safetensors, "txt": lines, "csv": lines,
    "tsv": lines,
}  # fmt: skip


def mutate(path: Path, rng: Random) -> str:
    """Change the file in a way that suits it, and say which."""
    ways = [in_place, bytes_changed, *[OF.get(path.suffix.removeprefix("."), bytes_changed)] * 3]
    way = rng.choice(ways)
    try:
        way(path, rng)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        OverflowError,
        RecursionError,
    ):  # a table that Arrow itself will not write
        path.unlink(missing_ok=True)
        path.write_bytes(rng.randbytes(100))
        return "noise"
    return way.__name__


def copy(valid: Path, folder: Path) -> None:
    """The valid files once more, without copying what is in them."""
    shutil.copytree(valid, folder, copy_function=os.link, symlinks=True)
