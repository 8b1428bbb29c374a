#!/bin/sh
# zmlx generate: text on stdout, statistics on stderr, the options that end or change a text.
. tests/cli/common.inc
m=$(tiny)
g="generate $m -p Hello"

check text-and-statistics 0 . 'decode  *20 tokens' $g -n 20
cp "$work/out" "$work/greedy"
check quiet 0 . - $g -n 20 -q
check greedy-repeats 0 . - $g -n 20 -q
cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
report greedy-is-deterministic "$why"
for o in '-t 1' '--cpu-level scalar' '--patterns none' '--patterns all' '--ctx 300'; do
    check "run $o" 0 . - $g -n 20 -q $o
    cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
    report "same text with $o" "$why"
done

check sampled 0 . - $g -n 20 -q --temp 1 --seed 5
cp "$work/out" "$work/sampled"
check sampled-again 0 . - $g -n 20 -q --temp 1 --seed 5 -t 1
cmp -s "$work/sampled" "$work/out" && why='' || why='another text'
report seed-repeats "$why"
check other-seed 0 . - $g -n 20 -q --temp 1 --seed 6
cmp -s "$work/sampled" "$work/out" && why='the same text' || why=
report seeds-differ "$why"
check top-k-1-is-greedy 0 . - $g -n 20 -q --temp 1 --top-k 1
cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
report top-k-1-same-text "$why"
check all-filters 0 . - $g -n 20 -q --temp 0.7 --top-p 0.9 --min-p 0.01 --top-k 40

# A stop string cut out of the middle of the text: the text ends right before it.
stop=$(LC_ALL=C tr -cd 'A-Za-z0-9' <"$work/greedy" | cut -c 3-4)
if LC_ALL=C grep -q -e "$stop" "$work/greedy"; then
    check stop-string 0 '' 'finish  *stop' $g -n 20 --stop "$stop" --stop 'never to be seen'
    LC_ALL=C awk -v stop="$stop" 'BEGIN { RS = "\001" } { i = index($0, stop); printf "%s", substr($0, 1, i - 1) }' \
        <"$work/greedy" >"$work/want"
    cmp -s "$work/want" "$work/out" && why='' || why='not the text before it'
    report stop-string-cuts "$why"
else
    echo "skipped: stop-string: no two letters side by side in the text"
fi
check stop-that-never-comes 0 . - $g -n 20 -q --stop 'never to be seen'
cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
report stop-that-never-comes-same-text "$why"
check stop-that-nearly-comes 0 . - $g -n 20 -q --stop "$stop and not"
cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
report stop-that-nearly-comes-same-text "$why"
check stop-empty 2 - 'stop string 0 is empty' $g --stop ''

printf 'Hello' >"$work/prompt"
check prompt-file 0 . - generate "$m" -f "$work/prompt" -n 20 -q
cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
report prompt-file-same-text "$why"
"$ZMLX" generate "$m" -f - -n 20 -q <"$work/prompt" >"$work/out" 2>"$work/err"
cmp -s "$work/greedy" "$work/out" && why='' || why='another text'
report standard-input "$why"

check json 0 '"schema":"zmlx.generate","version":1' - $g -n 7 --json
grep -q '"generated_tokens":7' "$work/out" && [ "$(wc -l <"$work/out")" -eq 1 ] && why='' || why='not one line with 7 tokens'
report json-one-line "$why"
if command -v python3 >/dev/null; then
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert len(d["tokens"]) == 7' "$work/out" 2>"$work/err" &&
        why='' || why='not valid'
    report json-valid "$why"
else
    echo 'skipped: json-valid: no python3'
fi

check context-used-up 0 '' 'finish  *context' $g -n 1000 --ctx 32 --ignore-eos
check prompt-too-long 5 - 'the prompt has [0-9]* tokens, the context has room for 3' generate "$m" -p 'Hello there, all of you' --ctx 3
check ctx-above-model 5 - 'context of 1000000 ' $g --ctx 1000000
check empty-prompt 2 - 'prompt is empty' generate "$m" -p ''
printf 'abc\377def' >"$work/prompt"
check prompt-not-utf-8 2 - 'byte 3' generate "$m" -f "$work/prompt"
awk 'BEGIN { for (i = 0; i < 1000000; i++) printf "ten bytes " }' >"$work/prompt"
check prompt-of-10-MB 5 - 'the prompt has [0-9]* tokens' generate "$m" -f "$work/prompt"
head -c 67108865 /dev/zero >"$work/prompt"
check prompt-above-the-limit 5 - 'larger than 67108864 bytes' generate "$m" -f "$work/prompt"
rm "$work/prompt"

check unknown-pattern 2 - "no_such_pattern" $g --patterns no_such_pattern
check unknown-cpu-level 2 - "unknown CPU level" $g --cpu-level sse9
check no-colour-in-a-pipe 2 - '^zmlx: error: ' $g --cpu-level sse9

{
    "$ZMLX" $g -n 200 -q --ignore-eos 2>"$work/err"
    echo $? >"$work/rc"
} | head -c 1 >/dev/null
why=
[ "$(cat "$work/rc")" -eq 1 ] || why="exit code $(cat "$work/rc")"
grep -q 'cannot write to standard output' "$work/err" || why="$why; no message"
report closed-pipe "$why"

if command -v timeout >/dev/null; then
    timeout -s INT --preserve-status 1 "$ZMLX" validate "$m" -n 500 --runs 1000 >"$work/out" 2>"$work/err"
    rc=$?
    [ $rc -eq 130 ] && why='' || why="exit code $rc"
    report interrupt "$why"
else
    echo 'skipped: interrupt: no timeout'
fi
exit $bad
