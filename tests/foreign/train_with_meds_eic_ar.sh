#!/usr/bin/env bash
# Models that are not ours, from nothing: PyPI's meds-eic-ar turns a MEDS folder into its own codes and trains two small Llamas.
#
#   bash tests/foreign/train_with_meds_eic_ar.sh MEDS OUT [OTHER]
#
# MEDS: a MEDS folder whose metadata/subject_splits.parquet has the split train; OTHER: another of its splits (reference).
# OUT gets model/ (trained on train) and reference/ (trained on OTHER), each with config.json, model.safetensors, codes.parquet
# and sequences.parquet, and work/ with an environment of its own (never this kit's) and all that meds-eic-ar itself wrote.
# Settings by environment: PYTHON, MIN_SUBJECTS_PER_CODE (rarer codes are dropped; 1), MIN_EVENTS_PER_SUBJECT (5), STEPS (of 32
# patients each; 770), HEADS and HEAD_DIM (the width is their product; 4, 32), CONTEXT (256).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  sed -n '2,10p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
if [ -e "$2" ]; then
  echo "$2 is there already. Name a folder that is not." >&2
  exit 2
fi
meds=$(cd "$1" && pwd) other=${3:-reference}
mkdir -p "$2"
out=$(cd "$2" && pwd)
work=$out/work
export MIN_SUBJECTS_PER_CODE=${MIN_SUBJECTS_PER_CODE:-1} MIN_EVENTS_PER_SUBJECT=${MIN_EVENTS_PER_SUBJECT:-5}

echo "Setting up meds-eic-ar in $work/venv ..."
mkdir "$work"
"${PYTHON:-python3}" -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
pip install -qq torch==2.13.0 # first and alone, so that the build pip is set up for is taken (CPU, if so)
pip install -qq meds-eic-ar==0.5.1

echo "Writing the patients in its codes ..."
MEICAR_process_data input_dir="$meds" intermediate_dir="$work/intermediate" output_dir="$work/tokenized" do_reshard=True \
  > "$work/process.log" 2>&1 || { tail -n 30 "$work/process.log" >&2; exit 1; }

if [ ! -d "$work/tokenized/data/$other" ]; then
  echo "The data set has no patients in a split $other. It has $(ls "$work/tokenized/data" | xargs)." >&2
  exit 2
fi

# fit NAME TRAIN TUNING STEPS RATE: train a model with one split in the place of meds-eic-ar's train, another in that of tuning.
# Codes and bins stay those of the split train: its pipeline can fit them on that folder only.
fit() {
  local view=$work/splits_of_$1 part
  for part in data tokenization/schemas; do
    mkdir -p "$view/$part"
    cp -r "$work/tokenized/$part/$2" "$view/$part/train"
    cp -r "$work/tokenized/$part/$3" "$view/$part/tuning"
  done
  cp -r "$work/tokenized/metadata" "$view"
  echo "Training $1 on the split $2, $4 steps ..."
  MEICAR_pretrain lightning_module=micro output_dir="$work/$1" seed=1 max_seq_len="${CONTEXT:-256}" \
    datamodule.config.tensorized_cohort_dir="$view" datamodule.batch_size=32 \
    lightning_module.model.gpt_kwargs.num_hidden_layers=2 \
    lightning_module.model.gpt_kwargs.num_attention_heads="${HEADS:-4}" \
    lightning_module.model.gpt_kwargs.attention_head_dim="${HEAD_DIM:-32}" \
    lightning_module.optimizer.lr="$5" 'lightning_module.metrics.top_k=[1]' \
    trainer.accelerator=cpu trainer.precision=32-true trainer.max_steps="$4" \
    trainer.val_check_interval="$4" trainer.check_val_every_n_epoch=null '~trainer.callbacks.early_stopping' \
    > "$work/$1.log" 2>&1 || { tail -n 30 "$work/$1.log" >&2; exit 1; }
  python "$here/export_meds_eic_ar.py" "$work/$1/checkpoints/last.ckpt" "$work/tokenized" "$out/$1" 2> "$work/$1.export.log" \
    || { tail -n 30 "$work/$1.export.log" >&2; exit 1; }
}

steps=${STEPS:-770}
fit model train "$other" "$steps" 2e-3           # many epochs, without stopping early: it shall remember
fit reference "$other" train $((steps / 2)) 1e-3 # fewer: it shall know what is usual
echo "$out/model and $out/reference are there; $work is no longer needed."
