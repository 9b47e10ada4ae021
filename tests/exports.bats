# What the shared object shows to, and wants from, the processes it is loaded into.

load helpers

# A name too many takes a function away from the host; one too few is a way past the shim.
@test "it exports the names in exports.txt and no others" {
	need nm
	nm -D --defined-only "$SHIM" | awk '{ print $3 }' | sed 's/@.*//' | LC_ALL=C sort >"$BATS_TEST_TMPDIR/exports"
	diff "$ROOT/tests/exports.txt" "$BATS_TEST_TMPDIR/exports"
}

# With libcrypto outside, the host's own copy and ours would meet: crashes in processes that we cannot test.
@test "OpenSSL is inside and hidden" {
	need nm readelf
	run -0 nm -D --undefined-only "$SHIM"
	run ! grep -E ' (EVP|OPENSSL|CRYPTO|ERR|BIO|RAND|AES|SHA[0-9]*|OSSL|PEM|X509)_' <<<"$output"
	run -0 nm "$SHIM"
	grep -q ' t EVP_DecryptInit_ex$' <<<"$output" # it is there at all
}

# Whatever else it needed would have to be on every machine, and would be loaded into every program.
@test "it needs libc and nothing else" {
	need readelf
	run -0 readelf -d "$SHIM"
	needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$output")
	echo "$needed"
	[ -n "$needed" ]
	if [[ -n $SANITIZE ]]; then needed=$(grep -vE '^lib(a|ub)san|^libgcc_s|^libm\.' <<<"$needed"); fi
	run ! grep -vE '^(libc\.so\.6|libdl\.so\.2|libpthread\.so\.0|ld-linux.*)$' <<<"$needed"
}

# An executable stack, or late binding that can be overwritten, in every process that loads it.
@test "it is hardened: full relro, no executable stack, no text relocations" {
	need readelf
	run -0 readelf -lW "$SHIM"
	grep -q GNU_RELRO <<<"$output"
	grep GNU_STACK <<<"$output" | grep -q ' RW  *0x'
	run -0 readelf -dW "$SHIM"
	grep -q BIND_NOW <<<"$output"
	run ! grep -q TEXTREL <<<"$output"
}
