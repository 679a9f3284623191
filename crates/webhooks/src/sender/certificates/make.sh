#!/bin/sh
# Makes the certificates with which tests and benchmarks serve TLS. Nothing else trusts them, so their key is no secret.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$(mktemp -d)"
trap 'rm -r "$PWD"' EXIT
touch index
cat >settings <<'END'
[ca]
default_ca = test
[test]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[sink]
subjectAltName = DNS:sink.test, IP:127.0.0.1
END
make_one() {
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
	openssl req -new -key "$1.key" -subj "/CN=$1.test" -out "$1.csr"
	openssl ca -batch -notext -config settings -extensions "$1" -startdate 20200101000000Z -enddate 21200101000000Z \
		-in "$1.csr" -out "$1.pem" -keyfile root.key "$2" ${3:+"$3"}
	openssl x509 -in "$1.pem" -outform DER -out "$here/$1.der"
}
make_one root -selfsign
make_one sink -cert root.pem
openssl pkcs8 -topk8 -nocrypt -in sink.key -outform DER -out "$here/sink-key.der"
chmod 644 "$here/sink-key.der"
