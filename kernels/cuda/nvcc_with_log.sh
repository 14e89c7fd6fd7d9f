#!/usr/bin/env bash
# nvcc_with_log.sh LOG COMMAND...: runs one compilation, with ptxas told to be verbose. LOG keeps what ptxas says of each
# kernel (lab/cuda_resources reads it); only the rest is shown. A compiler cache repeats the text with the object.
set -euo pipefail
log="$1"
shift
status=0
"$@" 2>"$log" || status=$?
grep -vE '^ptxas info +: ([0-9]+ bytes gmem|Compiling|Function|Used|Compile time)|bytes stack frame' "$log" >&2 || true
[ "$status" -eq 0 ] || rm -f "$log"
exit "$status"
