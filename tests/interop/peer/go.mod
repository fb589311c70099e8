module chorad.tests/interop/peer

go 1.26.0
