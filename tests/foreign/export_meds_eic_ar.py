"""Turn what meds-eic-ar leaves behind into a plain model folder and its sequences. Runs where meds-eic-ar is installed, without ehrmem.

python export_meds_eic_ar.py CHECKPOINT TOKENIZED OUT

CHECKPOINT: ``best_model.ckpt`` or ``checkpoints/last.ckpt`` of MEICAR_pretrain. It is a pickle: export only one of your own.
TOKENIZED: the ``output_dir`` of MEICAR_process_data that the model was trained on.
OUT: gets config.json, model.safetensors, codes.parquet and sequences.parquet (subject_id, split, ids).
"""

import shutil
import sys
from pathlib import Path


def export(checkpoint: Path, tokenized: Path, out: Path) -> None:
    """Write the model folder with meds-eic-ar's own export, its list of codes as it is, and every patient's ids on a row."""
    import polars as pl
    from MEDS_EIC_AR.model.backends.export import export_lightning_to_hf_dir
    from MEDS_EIC_AR.training import MEICARModule

    export_lightning_to_hf_dir(MEICARModule.load_from_checkpoint(checkpoint), out)
    shutil.copy(tokenized / "metadata" / "codes.parquet", out)
    folder = tokenized / "tokenization" / "event_seqs"  # one list of ids for each point in time
    sequences = [
        pl.read_parquet(shard).select(
            "subject_id",
            pl.lit(shard.relative_to(folder).parts[0]).alias("split"),
            pl.col("code").list.eval(pl.element().explode(empty_as_null=False)).cast(pl.List(pl.Int32)).alias("ids"),
        )
        for shard in sorted(folder.rglob("*.parquet"))
    ]
    pl.concat(sequences).write_parquet(out / "sequences.parquet")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if Path(sys.argv[3]).exists():  # meds-eic-ar's export replaces the whole folder
        sys.exit(f"{sys.argv[3]} is there already. Name a folder that is not.")
    export(*map(Path, sys.argv[1:]))
