# Writing is the kernel's business, and reading by a descriptor that could write is ours. The judge: the same calls on the plain file.

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export T=$t M=$t/m.safetensors VIEW=$t/view
	plain_model "$t/plain" 3000000
	"$CT" keygen -q -o "$t/keys.jwk"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 65536 "$t/plain" "$M"
	agent_start "$t/keys.jwk"
	shimmed cat "$M" >"$VIEW" # what the doors show; serve.bats compares it with judge.py's
}

teardown_file() {
	agent_stop
}

# Plaintext in the middle of the ciphertext: the file would be lost.
@test "every call that writes, on an encrypted file asked for with O_RDWR, ends as on a read-only descriptor; the file stays whole" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	cp "$VIEW" "$BATS_TEST_TMPDIR/plain.safetensors"
	run -0 "$PROBES/doors_write" "$BATS_TEST_TMPDIR/plain.safetensors" rdonly
	want=$output
	[ "${#lines[@]}" -ge 30 ]
	run -0 --separate-stderr shimmed "$PROBES/doors_write" "$BATS_TEST_TMPDIR/x.safetensors" rdwr
	diff <(echo "$want") <(echo "$output")
	cmp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	[ -z "$stderr" ]
}

# tinygrad maps so and only reads. A store that vanished without a word would be a lost result. Not with a sanitizer: it takes the fault.
# bats test_tags=plain-build
@test "a mapping that is shared and writable reads; a store to it is a fault, with one line, and reaches neither file nor memory" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	run -0 --separate-stderr shimmed python3 - "$BATS_TEST_TMPDIR/x.safetensors" "$VIEW" <<-'EOF'
		import mmap, os, signal, sys
		view = open(sys.argv[2], "rb").read()
		fd = os.open(sys.argv[1], os.O_RDWR)
		m = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
		assert m[:] == view
		for at in (100000, 100001, 2000000):
		    if os.fork() == 0:
		        m[at:at + 1] = b"x"
		        os._exit(0)
		    assert os.WTERMSIG(os.wait()[1]) == signal.SIGSEGV
		assert m[:] == view
		print("read")
	EOF
	[ "$output" = read ]
	echo "$stderr"
	[ "$(grep -c "^ctshim: .*x.safetensors: a store to a shared mapping: SIGSEGV" <<<"$stderr")" = 3 ] # three processes
	cmp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
}

# A tool that replaces, locks or shortens a model must not meet us.
@test "files that are opened for writing, truncated, renamed, replaced, linked and locked: as without the shim, byte for byte" {
	local how f
	for how in plain encrypted; do
		mkdir "$BATS_TEST_TMPDIR/$how"
		f=$BATS_TEST_TMPDIR/$how/m.safetensors
		cp "$M" "$f"
		(cd "$BATS_TEST_TMPDIR/$how" && if [ $how = plain ]; then python3 -; else shimmed python3 -; fi) >"$BATS_TEST_TMPDIR/$how.out" <<-'EOF'
			import errno, fcntl, hashlib, os, struct
			name = "m.safetensors"
			def raw(path): # past everything: what lies on the disk
			    out = os.popen(f"LD_PRELOAD= sha256sum {path}").read()
			    return out.split()[0][:16]
			def lock(fd, kind):
			    try:
			        return fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, 0, 0, 0, 0)) and "locked"
			    except OSError as e:
			        return errno.errorcode[e.errno]
			w = os.open(name, os.O_WRONLY)
			print("write lock", lock(w, fcntl.F_WRLCK), os.lseek(w, 0, os.SEEK_END))
			print("write", os.pwrite(w, b"\0" * 100, 1000000), os.fstat(w).st_size, raw(name))
			print("flags", fcntl.fcntl(w, fcntl.F_GETFL) & os.O_ACCMODE)
			os.close(w)
			os.link(name, "linked")
			os.rename(name, "renamed")
			print("renamed", os.path.exists(name), os.stat("renamed").st_nlink)
			fd = os.open("renamed", os.O_WRONLY | os.O_APPEND)
			print("append", os.write(fd, b"more"), os.lseek(fd, 0, os.SEEK_CUR), raw("renamed"))
			os.truncate("renamed", 5000)
			print("truncate", os.stat("linked").st_size, raw("linked"))
			fd = os.open("linked", os.O_WRONLY | os.O_TRUNC)
			print("O_TRUNC", os.fstat(fd).st_size, os.write(fd, b"now plain"), raw("renamed"))
			print("read back", open("linked", "rb").read())
			with open("new.safetensors", "w+b") as f:
			    f.write(b"0123456789" * 1000)
			    f.seek(5)
			    print("w+", f.read(10), raw("new.safetensors"))
			os.replace("new.safetensors", "linked")
			print("replaced", open("linked", "rb").read(5), open("renamed", "rb").read(5), os.stat("linked").st_size)
			fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
			print("O_TMPFILE", os.write(fd, b"abc"), os.pread(fd, 3, 0))
		EOF
	done
	diff "$BATS_TEST_TMPDIR/plain.out" "$BATS_TEST_TMPDIR/encrypted.out"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/plain.out")" = 11 ]
}

# A server that serves a model while it is swapped, cut or written over must not serve a mixture. Not with a sanitizer: it takes the fault.
# bats test_tags=plain-build
@test "a mapping whose file is replaced, cut short or written over: the old bytes or SIGBUS, never wrong ones" {
	run -0 shimmed python3 - "$M" "$VIEW" "$BATS_TEST_TMPDIR/x.safetensors" <<-'EOF'
		import mmap, os, shutil, signal, subprocess, sys
		view, path = open(sys.argv[2], "rb").read(), sys.argv[3]
		P = mmap.PAGESIZE
		def fresh():
		    subprocess.run(["cp", sys.argv[1], path], env={"PATH": os.environ["PATH"]}, check=True)
		    fd = os.open(path, os.O_RDONLY)
		    m = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
		    os.close(fd)
		    assert m[5000:9000] == view[5000:9000]
		    return m
		def pages(m): # each in a child: right, or dead by SIGBUS
		    seen = [0, 0]
		    for at in range(0, len(view), 16 * P):
		        pid = os.fork()
		        if pid == 0:
		            os._exit(0 if m[at:at + 10] == view[at:at + 10] else 1)
		        status = os.waitpid(pid, 0)[1]
		        bus = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS
		        assert bus or status == 0, (at, status)
		        seen[bus] += 1
		    return seen
		m = fresh()
		os.rename(path, path + ".away")
		with open(path, "wb") as f:
		    f.write(b"another file")
		assert pages(m)[1] == 0
		m = fresh()
		os.truncate(path, 1000000)
		right, bus = pages(m)
		assert right >= 10 and bus >= 20, (right, bus)
		m = fresh()
		with os.fdopen(os.open(path, os.O_WRONLY), "wb") as f:
		    f.seek(1500000)
		    f.write(os.urandom(500000))
		right, bus = pages(m)
		assert right >= 30 and 5 <= bus <= 12, (right, bus)
		print("right or an error")
	EOF
	echo "$output"
	[[ $output == *"right or an error" ]]
}
