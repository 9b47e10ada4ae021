# As many tensors as a header holds: 100,000,000 bytes of it. What grows faster than the file shows here as a time-out or as no memory.

load helpers

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	key_file aes256gcm.jwk >key
	cp "$(cat key)" keys.jwk
	chmod 600 keys.jwk
	agent_start "$PWD/keys.jwk"
}

teardown_file() {
	agent_stop
}

setup() {
	cd "$BATS_FILE_TMPDIR" || return
}

# opens FILE BYTES: within a minute and 1 GiB of address space ct verifies it, and under the shim its last bytes but two MB are read.
opens() {
	(ulimit -v 1048576 && timeout 60 "$CT" verify --keys keys.jwk "$1")
	(ulimit -v 1048576 && timeout 60 "$CT" verify "$1")
	(ulimit -v 2097152 && LD_PRELOAD=$SHIM timeout 60 tail -c 2000000 "$1") >end.bin
	[ "$(head -c 16 end.bin | od -An -tx1 | tr -d ' \n')" = "$2" ]
}

# 300,000 data keys: a quadratic look-up, or an allocation per tensor, would take hours or the machine's memory.
@test "300,000 encrypted tensors open in bounded memory" {
	python3 - <<-'EOF'
		import struct
		n = 300000
		h = ('{' + ','.join('"model.layers.%d.w":{"dtype":"F32","shape":[2,2],"data_offsets":[%d,%d]}' % (i, 16 * i, 16 * i + 16)
		                    for i in range(n)) + '}').encode()
		open("plain.safetensors", "wb").write(struct.pack("<Q", len(h)) + h + bytes(range(256)) * (16 * n // 256))
	EOF
	rm -f many.safetensors
	timeout 60 "$CT" encrypt -q --keys keys.jwk plain.safetensors many.safetensors
	[ "$(stat -c %s many.safetensors)" -gt 100000000 ]
	opens many.safetensors 808182838485868788898a8b8c8d8e8f
	rm -f plain.safetensors many.safetensors
}

# The same for plain tensors, of which a partly encrypted file may have even more. Written without ctshim, signed by openssl.
@test "1,000,000 tensors of which one is encrypted open in bounded memory" {
	need openssl
	PYTHONPATH=$ROOT/tests python3 "$ROOT/tests/scale.py" partial.safetensors keys.jwk 1000000
	opens partial.safetensors 00000000000000000000000000000000
	[ "$(LD_PRELOAD=$SHIM tail -c 16000000 partial.safetensors | head -c 16)" = "sixteen bytes !!" ]
	rm -f partial.safetensors
}
