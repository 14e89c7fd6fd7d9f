#!/usr/bin/env bash
# pack.sh BUILD FOLDER: lays a folder that runs on another x86-64 machine with an NVIDIA GPU: the programs of
# BUILD (preset gpu or gpu_debug), the libraries that they need but for the C library's own, and the scripts. `FOLDER/gpu
# --help`.
set -euo pipefail
build="$1" folder="$2"
bench="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
die() { printf 'pack: %s\n' "$*" >&2; exit 2; }

most_kb=50000
programs=(gpu_info ptx_conformance test_gpu_ops bench_train_step bench_gpu_constants)
[ -e "$build/bin/bench_cuda_libraries" ] && programs+=(bench_cuda_libraries)

if [ -e "$folder" ] && [ ! -e "$folder/VERSION" ] && [ -n "$(ls -A "$folder")" ]; then
  die "$folder is there and no folder of mine: expected an empty one, or none"
fi
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib" "$folder/bench/gpu" "$folder/bench/configs"

for program in "${programs[@]}"; do strip -o "$folder/bin/$program" "$build/bin/$program"; done
# The C library comes with the other machine, whose own must be as new as the one here.
ldd "${programs[@]/#/$build/bin/}" | awk '$3 ~ /^\// { print $3 }' | sort -u |
  grep -vE '/(ld-linux-x86-64|libc|libdl|libm|libpthread|librt)\.so\.' | xargs cp -L -t "$folder/lib"

cp "$bench"/{unet_torch,torch_ops}.py "$folder/bench"
cp "$bench"/gpu/*.py "$folder/bench/gpu"
cp "$bench"/configs/*.json "$folder/bench/configs"
cat >"$folder/gpu" <<'EOT'
#!/bin/sh
exec python3 -B "$(dirname "$0")/bench/gpu/run_gpu.py" "$@"
EOT
chmod +x "$folder/gpu"
git -C "$bench" describe --always --dirty >"$folder/VERSION" 2>/dev/null || echo unknown >"$folder/VERSION"

# Every program must start with what is in the folder. Without a GPU, gpu_info ends with 3.
for program in "${programs[@]}"; do
  if ldd "$folder/bin/$program" | grep 'not found' >&2; then die "$program: a library is missing"; fi
done
env -i "$folder/bin/bench_train_step" --help >/dev/null
env -i "$folder/bin/gpu_info" >/dev/null || [ $? -eq 3 ]

kb=$(du -sk "$folder" | cut -f1)
[ "$kb" -le "$most_kb" ] || die "$folder has $kb kB, more than the $most_kb that it may have"
echo "$folder: $kb kB. On the other machine: $(basename "$folder")/gpu --output DIR"
