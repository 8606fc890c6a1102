#!/usr/bin/env bash
# The most telling entries of README.md, in that order, about 24 minutes on one H100 or H200; results in $OUT.
#
#     OUT=results benchmarks/gpu/all.sh                # all
#     OUT=results benchmarks/gpu/all.sh play rows      # some, where a command may not take that long
#
# An entry that fails or overruns its time is noted in $OUT/all.log, and the next one runs.
# SIZE (qwen3-1.7b), LARGE (qwen2.5-3b), DEVICE (cuda), DTYPE (bfloat16), RUNS (runs/learn) and MINUTES (7) can be set.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${OUT:?the folder for results}"
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
export OUT PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
export PYTHONPATH="$PWD:$PWD/skills:$PWD/agents${PYTHONPATH:+:$PYTHONPATH}"
SIZE=${SIZE:-qwen3-1.7b} LARGE=${LARGE:-qwen2.5-3b} DEVICE=${DEVICE:-cuda} DTYPE=${DTYPE:-bfloat16}
read -ra few <<<"${EXTRA:-}"
on=(--device "$DEVICE" --dtype "$DTYPE")
failed=0

# entry NAME SECONDS COMMAND...: its JSON goes to $OUT/NAME.json
entry() {
    local name=$1 seconds=$2 begin=$SECONDS status
    shift 2
    echo "== $name: $*" | tee -a "$OUT/all.log"
    timeout --kill-after=20 "$seconds" "$@" --json "$OUT/$name.json" >"$OUT/.$name.log" 2>&1
    status=$?
    tail -n 25 "$OUT/.$name.log" | tee -a "$OUT/all.log"
    rm -f "$OUT/.$name.log"
    echo "== $name: exit status $status after $((SECONDS - begin)) s" | tee -a "$OUT/all.log"
    [ "$status" -eq 0 ] || failed=$((failed + 1))
}

for part in ${@:-play rows mfu trl large learn}; do
    case $part in
    play) entry play 330 python benchmarks/step_time.py --size "$SIZE" "${on[@]}" --learners grpo sdar --steps 1 \
        --groups 16 --turns 4 "${few[@]}" ;;
    rows) entry rows 240 python benchmarks/step_time.py --size "$SIZE" "${on[@]}" --learners grpo sdar --steps 1 \
        --rows recorded --groups 2 --turns 50 "${few[@]}" ;;
    mfu) entry mfu 240 python benchmarks/gpu/mfu.py --size "$SIZE" "${on[@]}" --rounds 2 "${few[@]}" ;;
    trl) entry trl 270 python benchmarks/gpu/against_trl.py --size "$SIZE" "${on[@]}" --turns 16 "${few[@]}" ;;
    large) entry large 270 python benchmarks/step_time.py --size "$LARGE" "${on[@]}" --learners grpo sdar --steps 1 \
        --rows recorded --groups 1 --turns 50 --kl 0 --activation-checkpointing "${few[@]}" ;;
    learn) entry learn 520 python benchmarks/gpu/learn.py --size 10m --device "$DEVICE" \
        --folder "${RUNS:-runs/learn}" --minutes "${MINUTES:-7}" ;;
    *) echo "unknown entry $part: play, rows, mfu, trl, large or learn" | tee -a "$OUT/all.log" && failed=$((failed + 1)) ;;
    esac
done
echo "$failed entries failed" | tee -a "$OUT/all.log"
exit "$((failed > 0))"
