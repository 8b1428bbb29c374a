#!/bin/sh
# Models that are missing, unknown or damaged: a message that names the trouble, the documented exit code, no crash.
. tests/cli/common.inc
good=$(tiny)
n=0
broken() { # a fresh copy in $m
    n=$((n + 1))
    m=$work/broken$n
    cp -r "$good" "$m"
    weights=$(ls "$m"/*.safetensors | head -n 1)
}

check missing-folder 3 - "$work/nowhere" plan "$work/nowhere"
check missing-id 3 - 'some/model' plan some/model
check empty-folder 3 - 'config.json' plan "$HOME"
broken
rm "$m/config.json"
check missing-config 3 - 'config.json' plan "$m"
broken
rm "$m/tokenizer.json"
"$ZMLX" plan "$m" >"$work/out" 2>"$work/err"
rc=$?
{ [ $rc -eq 3 ] || [ $rc -eq 4 ]; } && grep -q 'tokenizer.json' "$work/err" && why='' || why="exit code $rc"
report missing-tokenizer "$why"
broken
rm "$weights"
"$ZMLX" plan "$m" >"$work/out" 2>"$work/err"
rc=$?
{ [ $rc -eq 3 ] || [ $rc -eq 4 ]; } && grep -q 'safetensors' "$work/err" && why='' || why="exit code $rc"
report missing-weights "$why"
broken
echo '{' >"$m/config.json"
check config-is-not-json 4 - 'config.json' plan "$m"
broken
sed 's/"model_type": *"[a-z0-9_]*"/"model_type": "no_such_type"/' "$good/config.json" >"$m/config.json"
check unknown-model-type 3 - "no_such_type" plan "$m"
broken
sed 's/"hidden_size": *[0-9]*/"hidden_size": 256/' "$good/config.json" >"$m/config.json"
check wrong-shape 4 - 'shape' plan "$m"
broken
sed 's/"hidden_size": *[0-9]*/"hidden_size": -1/' "$good/config.json" >"$m/config.json"
check negative-size 4 - 'hidden_size' plan "$m"
broken
size=$(wc -c <"$weights")
head -c $((size / 2)) "$weights" >"$m/half" && mv "$m/half" "$weights"
check truncated-weights 4 - 'safetensors' plan "$m"
check truncated-weights-generate 4 - 'safetensors' generate "$m" -p x
broken
: >"$weights"
check empty-weights 4 - 'safetensors' plan "$m"
broken
printf '\377\377\377\377\377\377\377\377' >"$weights"
check absurd-header 4 - 'safetensors' plan "$m"
broken
echo '{"model": 5}' >"$m/tokenizer.json"
"$ZMLX" plan "$m" >"$work/out" 2>"$work/err"
rc=$?
{ [ $rc -eq 3 ] || [ $rc -eq 4 ]; } && grep -q 'tokenizer' "$work/err" && why='' || why="exit code $rc"
report damaged-tokenizer "$why"
exit $bad
