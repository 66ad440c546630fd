#!/usr/bin/env bash
# pip 25.3, `pip install --require-hashes`: a build of a package with a local version (2.0+cpu) that --find-links offers is
# passed over for the index's plain one (2.0), although both hashes are in the requirements file and 2.0+cpu is the higher
# version. Without hashes the same command takes 2.0+cpu. pip prefers candidates whose hash it can see beforehand; a file
# in a folder of --find-links has none in its link. So putting hashes into a lock silently turns a machine that was set up
# with torch for CPUs alone into one with the CUDA build.
#
# Seen: "without hashes: 1.17.0+cpu", "with hashes: 1.17.0". A requirement that names the local version takes it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
pip=("$folder/env/bin/python" -m pip --disable-pip-version-check -q)
"${pip[@]}" install 'pip==25.3' 'wheel==0.45.1'
"${pip[@]}" download --no-deps 'six==1.17.0' -d index

# The same package once more, as a build with a local version.
env/bin/python -m wheel unpack index/six-1.17.0-py2.py3-none-any.whl -d unpacked >/dev/null
mv unpacked/six-1.17.0 unpacked/six-1.17.0+cpu
mv unpacked/six-1.17.0+cpu/six-1.17.0.dist-info unpacked/six-1.17.0+cpu/six-1.17.0+cpu.dist-info
sed -i 's/^Version: 1.17.0$/Version: 1.17.0+cpu/' unpacked/six-1.17.0+cpu/six-1.17.0+cpu.dist-info/METADATA
mkdir links
env/bin/python -m wheel pack unpacked/six-1.17.0+cpu -d links >/dev/null

hash_of() { sha256sum "$1" | cut -d' ' -f1; }
{
    echo "six==1.17.0 \\"
    echo "    --hash=sha256:$(hash_of index/six-1.17.0-py2.py3-none-any.whl) \\"
    echo "    --hash=sha256:$(hash_of links/six-1.17.0+cpu-*.whl)"
} >hashed.txt

taken() { # the version that a requirements file gives
    rm -rf target
    "${pip[@]}" install --no-deps --find-links links --target target "$@" 2>/dev/null
    sed -n 's/^Version: //p' target/six-*.dist-info/METADATA
}
echo 'six==1.17.0' >plain.txt
sed 's/six==1.17.0/six==1.17.0+cpu/' hashed.txt >named.txt
plain=$(taken -r plain.txt) hashed=$(taken --require-hashes -r hashed.txt) named=$(taken --require-hashes -r named.txt)
echo "without hashes: $plain"
echo "with hashes: $hashed"
echo "with hashes, named: $named"
[[ $plain == 1.17.0+cpu && $hashed == 1.17.0 && $named == 1.17.0+cpu ]]
