#!/bin/sh
# dvc 3.67.1: a remote that lost a file of a tracked folder never gets it back by `dvc push`.
#
# Where the remote still has the folder's listing (the ".dir" object), push and `status --cloud` take the files that it
# names for granted, also with a new site cache, whose index knows nothing yet. Seen: "Everything is up to date." and
# "Cache and remote 'there' are in sync.", while the cache has the file and the remote has not. `dvc pull` on another
# machine then fails. A file that is tracked by itself is asked for, and pushed again.
#
# Exits with 1 when this is no longer so.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet dvc==3.67.1
PATH="$work/venv/bin:$PATH"
export DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"

mkdir "$work/project" && cd "$work/project"
dvc init --no-scm --quiet
dvc remote add --quiet --default there "$work/remote"
mkdir folder && echo one > folder/one && echo two > folder/two && echo alone > alone
dvc add --quiet folder alone
dvc push --quiet

object() { sum=$(md5sum < "$1" | cut -d' ' -f1); echo "$work/remote/files/md5/$(echo "$sum" | cut -c1-2)/$(echo "$sum" | cut -c3-)"; }
rm -f "$(object folder/one)" "$(object alone)"

export DVC_SITE_CACHE_DIR="$work/another-site"
said=$(dvc status --cloud folder.dvc)
dvc push --quiet
echo "status --cloud of the folder: $said"
if [ -e "$(object alone)" ] && [ ! -e "$(object folder/one)" ] && echo "$said" | grep -q "in sync"; then
    echo "the file alone was pushed again, the folder's was not"
else
    echo "changed: alone pushed again? $(ls "$(object alone)" 2>&1); of the folder? $(ls "$(object folder/one)" 2>&1)"
    exit 1
fi
