# Compute and score the vote of s1, t2 and another program, whose scores are in mine/scores.csv. Run it in the
# repository's root after `snakemake results/s1/preds.csv results/t2/preds.csv`.
set -eu
export PYTHONPATH=workflow_scripts
python examples/external_predictions/convert.py mine/scores.csv mine/preds.csv
python workflow_scripts/vote.py --preds results/s1/preds.csv results/t2/preds.csv mine/preds.csv --members s1 t2 mine \
    --tie-break s1 --manifest results/corpus/manifest.parquet --output mine/vote.csv --submission mine/submission.csv
python workflow_scripts/score.py --manifest results/corpus/manifest.parquet --preds mine/vote.csv \
    --output mine/scores.json
