#!/usr/bin/env bash
# Runs the project's tests on every kernel of the matrix, in virtual machines:
# builds what it needs, fetches the kernels that are not cached (Debian's apt) and
# ends with a table; the exit code is not 0 if anything failed. `test.sh -h` lists
# the options, for example: test.sh -kernel 6.1 -suite kprobe -v
set -euo pipefail
cd "$(dirname "$0")/../.."
exec go run ./lab/kernels test "$@"
