#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# make lint: what can be said about the tree without running it. Every finding is a line; exit 1 if there are any.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
: >"$tmp/findings"

# report WHAT: the lines on standard input are findings
report() { sed "s|^|lint: $1: |" | tee -a "$tmp/findings"; }

mapfile -t sources < <(find lib cmd bpf tests -name '*.[ch]' | sort)
mapfile -t userland < <(find lib cmd -name '*.c' | sort)
mapfile -t shells < <(grep -lsE '^#!.*\b(ba)?sh\b|^# shellcheck shell=' tests/*.sh tests/*.t examples/*.sh .ci/run)

# ---- who may include what: the library behind a header is the business of few files ----

only() { # HEADERS-PATTERN FILES-PATTERN
	grep -lE "#include [<\"]($1)" "${userland[@]}" lib/*.h | grep -vE "^($2)"
}
only 'bpf/(bpf|libbpf|btf)\.h|.*\.skel\.h|fw\.skel\.h' 'lib/kern_' | report "includes libbpf, which only lib/kern_* may"
only 'yaml\.h' 'lib/yaml_' | report "includes libyaml, which only lib/yaml_* may"
only 'jansson\.h' 'lib/ir_|lib/out_json' | report "includes jansson, which only lib/ir_* and lib/out_json* may"
grep -lE '#include "(lib/)?kern' cmd/fwc.c lib/{policy,yaml,ir,tables}*.[ch] | report "knows the kernel and should not"
ldd "$B/bin/fwc" | grep -o 'libbpf[^ ]*' | report "fwc is linked with"

# ---- sizes, so that a file can be read in one go ----

# The BPF side and tests have the same limits.
wc -l "${sources[@]}" | awk '$2 ~ /\.c$/ && $1 > 400 { print $2 ": " $1 " lines (400 at most)" }' | report size
awk 'FNR == 1 { start = 0; name = "" }
	/^[A-Za-z_].*[(]/ && !/;[ \t]*$/ { name = $0; sub(/[(].*/, "", name); sub(/.*[ *]/, "", name) }
	/^{/ { start = FNR }
	/^}/ { if (start && FNR - start + 1 > 80)
			print FILENAME ": " name "() has " FNR - start + 1 " lines (80 at most)"
		start = 0 }' "${sources[@]}" | report size

# ---- every file says its licence ----

find Makefile .ci lib cmd bpf tests examples man -type f | grep -E '\.([cht]|sh|py|[1-8])$|^Makefile$|^\.ci/run$' | while read -r f; do
	head -n 5 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-only' || echo "$f"
done | report "no SPDX line in"

# ---- the tools of others ----

shellcheck -x -S warning -f gcc "${shells[@]}" | report shellcheck
# (A page that the system lacks is no fault of ours; one of our own would be.)
mandoc -T lint -W style man/*.[1-8] 2>&1 | grep -vE 'STYLE: referenced manual not found: Xr |outdated mandoc.db lacks' | report mandoc
grep -ohE '^\.Xr (fw[a-z-]*) [0-9]' man/*.[1-8] | sort -u | while read -r _ page section; do
	[ -e "man/$page.$section" ] || echo "man/$page.$section is referred to and missing"
done | report mandoc
# varFuncNullUB: NULL is a pointer wherever BPF is. legacyUninitvar: it doesn't know what open_memstream() sets.
cppcheck -q -j 2 --std=c11 --enable=warning,portability --inline-suppr --suppress=missingInclude \
	--suppress=normalCheckLevelMaxBranches --suppress=varFuncNullUB --suppress=legacyUninitvar \
	-D_GNU_SOURCE -DFW_VERSION='""' -D'LIBBPF_OPTS(type,name,...)=struct type name = {__VA_ARGS__}' -I. \
	--template='{file}:{line}: {severity}: {message} [{id}]' "${userland[@]}" 2>&1 | report cppcheck

findings=$(wc -l <"$tmp/findings")
echo "lint: ${#sources[@]} C files, ${#shells[@]} scripts, $(find man -name '*.[1-8]' | wc -l) manual pages: $findings findings"
[ "$findings" = 0 ]
