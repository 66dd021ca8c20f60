#!/usr/bin/env bash
# readings.sh FOLDER: installs the dictionaries that Chinese and Japanese speech needs, about 260 MB, into
# FOLDER/pinyin and FOLDER/unidic. FOLDER is the xtts folder among your models; write its manifest anew
# afterwards: translator models lock --force.
#
# They come out of two Python packages, both pinned: pypinyin (MIT) and unidic-lite (UniDic 2.1.2, BSD).
set -euo pipefail
folder=${1:?usage: scripts/readings.sh FOLDER}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$scratch" \
    pypinyin==0.55.0 unidic-lite==1.0.8
mkdir -p "$folder/pinyin" "$folder/unidic"
cp "$scratch"/pypinyin/{pinyin_dict,phrases_dict}.json "$folder/pinyin/"
cp "$scratch"/unidic_lite/dicdir/{sys.dic,unk.dic,matrix.bin,char.bin} "$folder/unidic/"
