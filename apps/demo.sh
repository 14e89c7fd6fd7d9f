#!/usr/bin/env bash
# The demo behind `./run demo`: trains a small U-Net for a few minutes and samples from it. Wants a finished build.
#   apps/demo.sh fashion|emoji
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data="$1"
out="out/demo-$data"
case "$data" in
  fashion) images=/usr/share/datasets/fashion-mnist; ;;
  emoji) images=data/emoji; ;;
esac

build/bin/train_ddpm --train_data_dir "$images" --model_config_name_or_path "apps/configs/$data.json" \
  --output_dir "$out" --overwrite_output_dir --max_train_steps 1100 --train_batch_size 32 \
  --learning_rate 2e-3 --lr_warmup_steps 50 --use_ema --ema_max_decay 0.995 \
  --preview_steps 275 --eval_batch_size 16 --dataloader_num_workers 1
build/bin/sample_ddpm --model "$out" --num_images 64 --scheduler ddim --num_inference_steps 50 --batch_size 32 \
  --output "$out/grid.png"

cat <<EOT

The images:  $out/grid.png
The report:    $out/report.html   (curves, and the samples over time)
The model:     $out               (a diffusers pipeline folder)
More images: build/bin/sample_ddpm --model $out --num_images 100 --seed 1 --output more.png
EOT
