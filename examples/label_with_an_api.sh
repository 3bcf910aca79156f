#!/usr/bin/env bash
# Label pairs of replies by a model behind an API, without torch and without a GPU.
#
#     export OPENAI_API_KEY=...                         # of OpenAI, or of any endpoint that speaks its protocol:
#     export OPENAI_BASE_URL=https://example.org/v1     # not needed for OpenAI itself
#     examples/label_with_an_api.sh MODEL [PAIRS [OUT]]
#
# PAIRS: a line a pair, {"prompt": ..., "responses": [..., ...]}. Ctrl-C at any time: the same command goes on.
set -euo pipefail
: "${OPENAI_API_KEY:?put your key into this variable: it is read from nowhere else}"
model=${1:?name a model that the endpoint knows}
pairs=${2:-"$(dirname "$0")/pairs/english.jsonl"}
out=${3:-labels}

# Is this critic any good? The shipped pairs have a known choice (`preferred`), which it does not see.
rlaif critic test --critic "openai:$model" --data "$pairs" --constitution helpful --out "$out-critic"

# Label: every principle in both orders. The price (dollars a million tokens, prompt/reply) makes --max-cost a hard limit.
rlaif label --constitution helpful --pairs "$pairs" --critic "openai:$model" --price 0.15/0.60 --max-cost 0.50 --out "$out"

# What came out: every judgement behind one label, figures of all of them, and a file for another trainer.
rlaif why "${WHY:-leap}" --in "$out"
rlaif labels audit "$out"
rlaif export "$out" --format implicit --out "$out/implicit"
