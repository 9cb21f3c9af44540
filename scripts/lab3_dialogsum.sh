#!/usr/bin/env bash
# Lab 3 on real data, from the files to the reports: rude dialogues, a summarizer that learns their tone, the reward's
# classifier, the judge, and PPO with three seeds.
#
#   scripts/lab3_dialogsum.sh DATA SUMMARIZER WORKDIR [JUDGE]
#
# DATA holds dialogsum/, davidson/labeled_data.csv and wikidetox/toxicity_nonfuzzed_testset.csv; SUMMARIZER is the workdir
# of configs/dialogsum_scratch.py. JUDGE of toxicity: bert (the default: other data and another architecture than the
# reward's), t5 (other data and size), or minilm: the reward and the judge are both fine-tuned from the pretrained MiniLM,
# on tweets and on comments, and bert judges beside it. MINILM names its directory, if not the hub's.
# 30 to 60 minutes on 2 CPU cores, minilm twice that. Started again, it goes on where it was.
set -euo pipefail

judge=${4:-bert} reward=davidson
if [[ $# -lt 3 || $# -gt 4 || ! $judge =~ ^(bert|t5|minilm)$ ]]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
data=$1 summarizer=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
for file in dialogsum/dialogsum.{train,dev}.jsonl davidson/labeled_data.csv wikidetox/toxicity_nonfuzzed_testset.csv; do
  [[ -f $data/$file ]] || { echo "lab3_dialogsum.sh: $data/$file is not there" >&2; exit 2; }
done

rude() { # rude SPLIT ROWS NAME
  python "$here/make_rude_dialogues.py" "$data/dialogsum/dialogsum.$1.jsonl" "$out/rude/$3.jsonl" --rows "$2"
}

run() { # run CONFIG NAME FLAGS...
  t5x-lite --config "$1" --workdir "$out/$2" --config.logging.tensorboard=False "${@:3}"
}

# The summarizer learns the tone on other rows than PPO then takes; 400 are for choosing settings.
rude train :6000 adapt
rude train 6000:12060 train
rude train 12060: tune
rude dev : dev

for part in train:adapt evaluation:tune; do
  rows+=("--config.data.${part%:*}.source=$out/rude/${part#*:}.jsonl" "--config.data.${part%:*}.id_column=fname"
    "--config.data.${part%:*}.columns={'dialogue': 'dialogue', 'summary': 'rude_summary'}"
    "--config.data.${part%:*}.split=")
done
run finetune.py rude_policy "${rows[@]}" --config.data.evaluation.limit=100 \
  --config.model.source="$summarizer" --config.model.dtype=float32 --config.model.remat=none \
  --config.tokenizer.source=model \
  --config.data.template='{dialogue}' --config.data.encoder_length=320 --config.data.decoder_length=96 \
  --config.data.truncation=end --config.batch.size=16 --config.batch.buckets=3 --config.train.steps=250 \
  --config.schedule.learning_rate=5e-4 --config.optimizer.weight_decay=0.0 --config.optimizer.no_weight_decay='()' \
  --config.evaluation.every_steps=125 --config.generation.num_beams=1 --config.generation.max_new_tokens=64

wiki=$data/wikidetox/toxicity_nonfuzzed_testset.csv columns="{'text': 'comment', 'label': 'toxic'}"
tweets=$data/davidson/labeled_data.csv
if [[ $judge == minilm ]]; then
  reward=minilm_tweets from=--config.model.source=${MINILM:-sentence-transformers/all-MiniLM-L6-v2}
  run classifier_minilm.py "$reward" "$from" --config.data.train.source="$tweets" --config.data.transfer.source="$wiki"
  run classifier_minilm.py:comments judge_minilm "$from" \
    --config.data.train.source="$wiki" --config.data.transfer.source="$tweets"
  more=(--config.judges.bert.source="$out/judge_bert" --config.judges.bert.label=hate
    '--config.judges.bert.text={response}')
else
  run classifier.py:davidson davidson --config.data.train.source="$tweets" \
    --config.data.transfer.source="$wiki" --config.data.transfer.columns="$columns" --config.train.steps=500
fi
if [[ $judge == t5 ]]; then
  run classifier.py:davidson judge_t5 --config.data.train.source="$wiki" --config.data.train.columns="$columns" \
    --config.data.evaluation.columns="$columns" --config.seed=1 --config.model.architecture.d_model=64 \
    --config.model.architecture.d_ff=128 --config.model.architecture.num_encoder_layers=1 \
    --config.model.architecture.num_heads=2 --config.tokenizer.vocab_size=1500 --config.train.steps=250
else
  run classifier.py:wikidetox judge_bert --config.data.train.source="$wiki"
fi

for seed in 0 1 2; do
  run lab3_ppo.py:dialogsum "ppo_${judge}_$seed" --config.seed="$seed" --config.model.source="$out/rude_policy" \
    --config.rewards.clean.source="$out/$reward" --config.toxicity.source="$out/$reward" \
    --config.judges.comments.source="$out/judge_$judge" ${more[@]+"${more[@]}"} \
    --config.data.train.source="$out/rude/train.jsonl" --config.data.evaluation.source="$out/rude/dev.jsonl" \
    --config.data.evaluation.exclude="$data/dialogsum/near_duplicates_vs_train.json:dev"
done
