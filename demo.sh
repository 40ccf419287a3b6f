#!/bin/sh
# The main job from end to end, without any download: build, verify, draw, train. Writes into ./demo.
set -eu
topokit=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
rm -rf demo
mkdir demo
cd demo

run() {
    echo "\$ topokit $*"
    "$topokit" "$@"
    echo
}

run build --radices 10,10 --kron 8,3,1 --crop 784,300,100 -o radix.safetensors
run verify radix.safetensors
run build --random-equivalent regular --like radix.safetensors --seed 0 -o twin.safetensors
run draw radix.safetensors --style pattern -o radix.png
run train --topology radix.safetensors --run radix
run train --topology twin.safetensors --run twin
