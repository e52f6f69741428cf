# Predictions of another program vote with those of s1 and t2, and the vote is scored. From the repository's root, after
# `snakemake results/s1/preds.csv results/t2/preds.csv`, with the other program's scores in mine/scores.csv.
set -eu
export PYTHONPATH=workflow_scripts
python examples/external_predictions/convert.py mine/scores.csv mine/preds.csv
python workflow_scripts/vote.py --preds results/s1/preds.csv results/t2/preds.csv mine/preds.csv --members s1 t2 mine \
    --tie-break s1 --manifest results/corpus/manifest.parquet --output mine/vote.csv --submission mine/submission.csv
python workflow_scripts/score.py --manifest results/corpus/manifest.parquet --preds mine/vote.csv \
    --output mine/scores.json
