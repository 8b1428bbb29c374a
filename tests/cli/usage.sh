#!/bin/sh
# Help, version, unknown words, values out of range: what the command does before it opens a model.
. tests/cli/common.inc

check version 0 '^zmlx [0-9]*\.[0-9]*\.[0-9]*$' - --version
check no-arguments 2 - 'Usage: zmlx COMMAND'
check help 0 'validate' - help
check help-option 0 'Usage: zmlx COMMAND' - --help
check help-command 0 'Usage: zmlx plan MODEL' - help plan
check help-unknown 2 - "unknown command 'pln'" help pln
check unknown-command 2 - "did you mean zmlx generate" genrate
check unknown-option 2 - "did you mean --max-tokens" generate m --max-token 5
check unknown-option-without-near-name 2 - 'zmlx generate --help lists' generate m --zzzzzzzz
check option-before-command 2 - 'options come after' --threads 2
for c in doctor generate plan synth validate; do
    check "help-$c" 0 '^Examples:' - $c --help
    check "help-$c-short" 0 "Usage: zmlx $c" - $c -h
done

check model-missing 2 - 'MODEL needed' generate -p x
check too-many-arguments 2 - "unexpected argument 'b'" plan a b
check after-dashes-an-argument 3 - 'model' plan -- --json
check not-a-number 2 - "'5x' is not a whole number" generate m -p x -n 5x
check empty-number 2 - 'not a whole number' generate m -p x -n ''
check out-of-range 2 - "'0' is outside 1 .." generate m -p x -n 0
check huge-number 2 - 'outside' generate m -p x -n 99999999999999999999
check not-a-real 2 - "'nan' is not a number" generate m -p x --temp nan
check negative-temperature 2 - "'-1' is outside" generate m -p x --temp -1
check seed-negative 2 - 'not a whole number' generate m -p x --seed -1
check value-missing 2 - '--prompt needs a value' generate m -p
check given-twice 2 - '--threads is given twice' generate m -p x -t 1 --threads=2
check flag-with-value 2 - '--json takes no value' plan m --json=yes
check joined-letter 2 - "'0' is outside" generate m -px -n0
check threads-out-of-range 2 - 'outside 1 .. 256' validate m -t 257

check prompt-missing 2 - 'either --prompt or --file' generate m
check prompt-twice 2 - 'either --prompt or --file' generate m -p x -f y
check filter-without-temperature 2 - '--top-p has no effect without --temp' generate m -p x --top-p 0.5
check file-missing 1 - 'cannot read .*nowhere: No such file' generate m -f "$work/nowhere"
check file-is-a-folder 1 - 'cannot read' generate m -f "$work"

ZMLX_KV_BITS=4 "$ZMLX" --version >"$work/out" 2>"$work/err"
grep -q 'warning: ZMLX_KV_BITS is set but nothing reads it' "$work/err" && why='' || why='no warning'
report unknown-environment-variable "$why"

if [ -e /dev/full ]; then
    "$ZMLX" help >/dev/full 2>"$work/err"
    rc=$?
    why=
    [ $rc -eq 1 ] || why="exit code $rc"
    grep -q 'cannot write to standard output' "$work/err" || why="$why; no message"
    report full-disk "$why"
else
    echo 'skipped: full-disk: no /dev/full'
fi

check doctor 0 '^bandwidth  *[0-9.]* GB/s' - doctor --quick
check doctor-json 0 '"schema":"zmlx.doctor","version":1' - doctor --quick --json
mkdir -p "$HOME/.cache/huggingface/hub/models--some--thing-4bit/snapshots" "$HOME/.cache/huggingface/hub/models--empty--one"
check doctor-lists-models 0 '^  *some/thing-4bit$' - doctor --quick
grep -q 'empty/one' "$work/out" && why='lists a model without a snapshot' || why=
report doctor-lists-only-usable-models "$why"
exit $bad
