module chorad.tests/interop/auth

go 1.26.0

require go.etcd.io/etcd/pkg/v3 v3.7.3
