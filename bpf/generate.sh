#!/usr/bin/env bash
# Compiles every probe for each architecture into object/ARCH/NAME.bpf.o. The
# objects are committed, so that nobody needs clang to run the exporter; the
# same compiler gives the same bytes, which `make generate && git diff` shows.
#
# Debian and Ubuntu: apt-get install clang-19 llvm-19 libbpf-dev
set -euo pipefail
cd "$(dirname "$0")"

clang=${CLANG:-clang-19}
strip=${LLVM_STRIP:-llvm-strip-19}
for tool in "$clang" "$strip"; do
	command -v "$tool" >/dev/null || {
		echo "generate: $tool is missing; install it with: apt-get install clang-19 llvm-19 libbpf-dev" >&2
		exit 1
	}
done

# Linux 5.10 knows no instruction newer than those of -mcpu=v2 that clang emits.
flags=(-g -O2 -Wall -Werror -mcpu=v2 -target bpf -fdebug-compilation-dir=. -Iinclude)

compile() { # SOURCE OBJECT TARGET_ARCH
	"$clang" "${flags[@]}" "-D__TARGET_ARCH_$3" -c "$1" -o "$2"
	"$strip" -g "$2"
}

for source in "${@:-*.bpf.c}"; do
	for file in $source; do
		name=$(basename "$file" .c)
		mkdir -p object/amd64 object/arm64
		compile "$file" "object/amd64/$name.o" x86
		compile "$file" "object/arm64/$name.o" arm64
		echo "compiled $file"
	done
done
