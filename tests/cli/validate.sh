#!/bin/sh
# zmlx validate and zmlx plan.
. tests/cli/common.inc
m=$(tiny)

check passes 0 'verdict  *PASS' - validate "$m" -n 20 --runs 2
grep -q 'tokens  *40/40' "$work/out" && grep -q 'bit-identical at every step' "$work/out" && why='' || why='report is incomplete'
report passes-with-all-tokens "$why"
check nothing-patched 0 'patched  *nothing' - validate "$m" -n 5 --runs 1 --patterns none
check one-token 0 'tokens  *1/1' - validate "$m" -n 1 --runs 1
check own-prompt 0 'work  *[0-9]* prompt tokens' - validate "$m" -n 5 --runs 1 -p 'A short prompt'
check scalar-one-thread 0 'verdict  *PASS' - validate "$m" -n 5 --runs 1 --cpu-level scalar -t 1
check json 0 '"schema":"zmlx.validate","version":1' - validate "$m" -n 5 --runs 2 --json --json-out "$work/report.json"
cmp -s "$work/out" "$work/report.json" && why='' || why='differs from stdout'
report json-file "$why"
if command -v python3 >/dev/null; then
    python3 - "$work/out" >"$work/err" 2>&1 <<'PY' && why='' || why='wrong contents'
import json, sys
d = json.load(open(sys.argv[1]))
assert d["pass"] and d["tokens_matched"] == d["tokens_total"] == 10
assert [(r["plan"], r["run"]) for r in d["raw"]] == [("stock", 0), ("patched", 0), ("patched", 1), ("stock", 1)]
assert all(len(r["tokens"]) == len(r["logits_xxh64"]) == 5 for r in d["raw"])
assert len({tuple(r["logits_xxh64"]) for r in d["raw"]}) == 1
assert d["decode_gain"]["low"] <= d["decode_gain"]["ratio"] <= d["decode_gain"]["high"]
PY
    report json-contents "$why"
else
    echo 'skipped: json-contents: no python3'
fi
[ "$(ls "$work"/report.json*)" = "$work/report.json" ] && why='' || why='temporary files are left'
report json-file-no-leftovers "$why"
check json-file-in-a-missing-folder 1 - 'cannot write .*/no/such/file' validate "$m" -n 5 --runs 1 --json-out "$work/no/such/file"
check does-not-fit 5 - 'do not fit in a context of 64' validate "$m" -n 200 --ctx 64
check unknown-pattern 2 - 'no_such_pattern' validate "$m" --patterns no_such_pattern
check prompt-twice 2 - 'either --prompt or --file' validate "$m" -p x -f y

check plan 0 '^  total  *[0-9]* -> [0-9]*$' - plan "$m"
check plan-explain 0 '^matches and skips$' - plan "$m" --explain
check plan-explain-match 0 '^    match  ' - plan "$m" --explain
check plan-none 0 'patterns' - plan "$m" --patterns none
check plan-exclude 0 'total' - plan "$m" --exclude moe_combine
grep -q '^  moe_combine .*matched' "$work/out" && why='still there' || why=
report plan-exclude-works "$why"
check plan-json 0 '"schema":"zmlx.plan","version":1' - plan "$m" --json --explain

if [ -e models/demo/model.safetensors ]; then
    check demo-validate 0 'tokens  *600/600 equal' - validate models/demo --max-tokens 200 --runs 3
    check demo-validate-verdict 0 'verdict  *PASS' - validate models/demo -n 20 --runs 1
    # The same command with one fused kernel that is wrong on purpose.
    right=$ZMLX
    ZMLX=${ZMLX%/*}/zmlx-wrong
    check wrong-kernel 7 'first difference: patched run 0, token [0-9]*: [0-9]* where stock chose [0-9]*' - validate models/demo -n 100 --runs 2
    check wrong-kernel-logits 7 'not bit-identical, first difference at token 0' - validate models/demo -n 20 --runs 1
    check wrong-kernel-left-out 0 'verdict  *PASS' - validate models/demo -n 20 --runs 1 --exclude moe_combine
    ZMLX=$right
    check demo-generate 0 . 'finish' generate models/demo -p 'It was in the month of November' -n 20
    check demo-plan 0 'total' - plan models/demo --explain
else
    echo 'skipped: demo: models/demo has no weights'
fi
exit $bad
