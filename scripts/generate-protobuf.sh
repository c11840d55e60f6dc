#!/bin/sh
# Regenerates Tests/RecordsOracle/request_record.pb.swift from schemas/. Needs protoc, and builds
# protoc-gen-swift from the swift-protobuf checkout that the package resolves. With --check it only
# compares.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Of the checkout a copy is built, so that the package's own build directory stays as it is.
swift package resolve >/dev/null
cp -R .build/checkouts/swift-protobuf "$scratch/swift-protobuf"
chmod -R u+w "$scratch/swift-protobuf"
plugin_build=${SLUICE_PROTOC_GEN_BUILD:-$scratch/build}
swift build --package-path "$scratch/swift-protobuf" --scratch-path "$plugin_build" \
    -c release --product protoc-gen-swift

mkdir "$scratch/out"
protoc -I schemas --plugin=protoc-gen-swift="$plugin_build/release/protoc-gen-swift" \
    --swift_opt=Visibility=Package --swift_opt=FileNaming=DropPath \
    --swift_out="$scratch/out" sluice/v1/request_record.proto

generated=Tests/RecordsOracle/request_record.pb.swift
if [ "${1:-}" = --check ]; then
    cmp "$scratch/out/request_record.pb.swift" "$generated"
else
    cp "$scratch/out/request_record.pb.swift" "$generated"
fi
