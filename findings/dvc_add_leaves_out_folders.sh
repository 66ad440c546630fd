#!/bin/sh
# dvc 3.67.1: `dvc add FOLDER` leaves out, without a word and with exit status 0,
#   - a folder below it that is a symbolic link (a linked file is followed and kept), and
#   - a folder below it that has a .dvc/ of its own, such as a data set that was cloned with git and DVC.
# The md5 of FOLDER does not change when files in them do, and another machine's `dvc pull` brings nothing of them.
# Seen: "kept: a.txt linked.txt"; of `linked_folder/c.txt` and `cloned/d.txt` nothing, and nothing about them in the output.
# Exits with 1 when DVC keeps them or says that it does not.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet "dvc==3.67.1"
export PATH="$place/venv/bin:$PATH" DVC_NO_ANALYTICS=1
mkdir -p "$place/project/data/cloned/.dvc" "$place/away"
cd "$place/project"
dvc init --quiet --no-scm
echo a > data/a.txt
echo b > "$place/away/b.txt" && ln -s "$place/away/b.txt" data/linked.txt
echo c > "$place/away/c.txt" && ln -s "$place/away" data/linked_folder
echo d > data/cloned/d.txt
said=$(dvc add data 2>&1)
md5=$(sed -n 's/.*md5: \(.*\)\.dir/\1/p' data.dvc)
listing=".dvc/cache/files/md5/$(echo "$md5" | cut -c1-2)/$(echo "$md5" | cut -c3-).dir"
kept=$(python3 -c "import json,sys; print(*sorted(e['relpath'] for e in json.load(open(sys.argv[1]))))" "$listing")
echo "kept: $kept"
[ "$kept" = "a.txt linked.txt" ]
! echo "$said" | grep -q -e linked_folder -e cloned
