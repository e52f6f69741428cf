# Resolve both flavours into their locks and write the locks into conda's post-deploy scripts.
#
#     make lock                      pins stay as they are where the requirements allow it
#     make lock UPGRADE=--upgrade    newest versions that the requirements allow
#
# PYTHON        the Python 3.11 that runs uv
# TORCH_INDEX   as for install.sh
set -eu
cd "$(dirname "$0")"
: "${PYTHON:=python3.11}"
uv=../.cache/uv
[ -x $uv/bin/uv ] || { "$PYTHON" -m venv --clear $uv && $uv/bin/python -m pip install --quiet --quiet uv==0.13.9; }

# uv does not read pip's settings; a folder of wheels given to pip counts for it too.
export UV_FIND_LINKS="${UV_FIND_LINKS-${PIP_FIND_LINKS-}}"

for flavour in cpu gpu; do
    new=$(mktemp ./$flavour.XXXXXX)
    trap 'rm -f "$new"' EXIT
    cp $flavour.lock "$new"
    # glibc 2.31: Debian 11, Ubuntu 20.04, Red Hat 9 and later. Wheels only, so that no compiler is needed;
    # connection-pool alone is published as source, pure Python.
    $uv/bin/uv pip compile --quiet --no-config --python $uv/bin/python ${UPGRADE-} \
        --python-version 3.11 --python-platform x86_64-manylinux_2_31 --only-binary :all: --no-binary connection-pool \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX" --index-strategy unsafe-best-match} \
        --no-header --no-annotate --override $flavour.overrides.txt --output-file "$new" $flavour.in >/dev/null
    chmod 644 "$new"
    mv "$new" $flavour.lock
    sh post-deploy.sh $flavour > $flavour.post-deploy.sh
done
